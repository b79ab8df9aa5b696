"""Windows are copies of consecutive rows, cut from one table that stays where it is."""

from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.errors import InputError
from mlfactory.common.windows import Windows, valid_ends


def table(rows: int = 50, features: int = 3) -> np.ndarray:
    return np.arange(rows * features, dtype=np.float32).reshape(rows, features)


def test_a_window_is_the_rows_up_to_its_end() -> None:
    windows = Windows(table(), np.array([4, 9, 30, 49]), steps=5)
    batch = windows.gather(np.array([2, 0, 2]))
    for got, end in zip(batch, (30, 4, 30), strict=True):
        assert (got == table()[end - 4 : end + 1]).all()
    assert batch.shape == (3, 5, 3)
    assert len(windows) == 4


def test_the_flat_view_holds_no_copy() -> None:
    resident = table(1000, 8)
    view = Windows(resident, np.arange(99, 1000), steps=100).flat
    assert np.shares_memory(view, resident)
    assert not view.flags.writeable


def test_a_table_on_disk_is_gathered_without_reading_it_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", table())
    mapped = np.load(tmp_path / "t.npy", mmap_mode="r")
    assert (Windows(mapped, np.array([10]), 3).gather(np.array([0]))[0] == table()[8:11]).all()


def test_a_window_never_straddles_two_segments() -> None:
    segment = np.repeat([0, 1, 2], [4, 2, 5])
    assert valid_ends(segment, np.arange(11), steps=3).tolist() == [2, 3, 8, 9, 10]


def test_one_step_is_valid_everywhere() -> None:
    assert valid_ends(np.repeat([0, 1], 3), np.array([5, 0]), steps=1).tolist() == [5, 0]


@pytest.mark.parametrize("end", [3, 50])
def test_a_window_outside_the_table_is_an_error(end: int) -> None:
    with pytest.raises(InputError, match="windows of 5 steps"):
        Windows(table(), np.array([end]), steps=5)


def test_a_column_major_table_is_an_error() -> None:
    with pytest.raises(InputError, match="row-major"):
        Windows(np.asfortranarray(table()), np.array([9]), steps=5)
