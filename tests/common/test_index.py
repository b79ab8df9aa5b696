"""The index comes back from disk as it was written and answers which rows a fold may use."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.artifacts import provenance, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.index import LAST, Index, read_index, write_index
from mlfactory.common.splits import HELD_OUT, REFIT, TRAIN, UNUSED


def small_index() -> Index:
    """Ten rows on bars 100..109, labels of one bar, two folds; rows 8 and 9 are the locked test."""
    code = np.zeros((10, 3), np.uint8)
    code[:, 0] = [HELD_OUT, HELD_OUT, HELD_OUT, UNUSED, UNUSED, TRAIN, TRAIN, TRAIN, UNUSED, UNUSED]
    code[:, 1] = [TRAIN, TRAIN, TRAIN, UNUSED, HELD_OUT, HELD_OUT, HELD_OUT, UNUSED, UNUSED, UNUSED]
    code[:, 2] = [TRAIN] * 7 + [UNUSED] + [HELD_OUT] * 2
    known = np.arange(10) < 7
    return Index(
        bar=np.arange(100, 110),
        minute=np.arange(28_000_000, 28_000_010),
        segment=np.zeros(10, np.int64),
        session=np.full(10, 19_500),
        log_return=np.where(np.arange(10) < 8, 1e-4, np.nan),
        event=np.ones(10, np.bool_),
        horizons=(5,),
        n_folds=2,
        label={5: np.where(known, np.arange(10) % 3, -1).astype(np.int8)},
        end={5: np.where(known, np.arange(101, 111), -1)},
        open_until={5: np.where(known, np.arange(101, 111), -1)},
        exit={5: np.where(known, np.arange(101, 111), -1)[:, None].repeat(2, axis=1)},
        long_net={5: np.where(known, 1e-3, np.nan)},
        short_net={5: np.where(known, -1e-3, np.nan)},
        code={5: code},
        facts={"embargo_bars": 1},
    )


def written(folder: Path) -> Path:
    path = folder / "index"
    write_index(path, small_index(), provenance("index", "dataset", {}, {}, embargo_bars=1))
    return path


def test_an_index_comes_back_as_it_was_written(tmp_path: Path) -> None:
    back, index = read_index(written(tmp_path)), small_index()
    for field in fields(Index):
        if field.name != "facts":
            np.testing.assert_equal(getattr(back, field.name), getattr(index, field.name))
    assert back.facts["embargo_bars"] == 1


def test_the_same_index_gives_the_same_bytes(tmp_path: Path) -> None:
    assert sha256(written(tmp_path / "a")) == sha256(written(tmp_path / "b"))


def test_rows_are_matrix_rows_of_one_part() -> None:
    index = small_index()
    assert index.rows(5, 0, HELD_OUT).tolist() == [0, 1, 2]
    assert index.rows(5, REFIT, HELD_OUT).tolist() == [8, 9]


def test_the_seal_runs_to_the_last_held_out_label_end_plus_the_embargo() -> None:
    # held-out bars 100..102, last label ends at 103, one bar of embargo
    assert np.flatnonzero(small_index().sealed(5, 0)).tolist() == [0, 1, 2, 3, 4]


def test_the_seal_of_the_refit_runs_to_the_end() -> None:
    assert np.flatnonzero(small_index().sealed(5, REFIT)).tolist() == [8, 9]


def test_held_out_rows_with_training_rows_between_have_a_seal_each() -> None:
    # rows 0-1 and 6 are held out, 4 is trained on; labels end one bar later, one bar of embargo
    index = small_index()
    index.code[5][:, 0] = [
        HELD_OUT,
        HELD_OUT,
        UNUSED,
        UNUSED,
        TRAIN,
        UNUSED,
        HELD_OUT,
        UNUSED,
        UNUSED,
        UNUSED,
    ]
    assert index.sealed_bars(5, 0) == [(100, 103), (106, 108)]
    index.code[5][4, 0] = UNUSED
    assert index.sealed_bars(5, 0) == [(100, 108)]


def test_a_seal_in_time_runs_to_the_last_bar_that_opens_within_the_embargo() -> None:
    # the label of bar 102 ends at 103, which opens three minutes after bar 100; a halt of an hour follows bar 104
    index = small_index()
    minute = index.minute + np.r_[np.zeros(5, np.int64), np.full(5, 60)]
    for embargo, last in ((0, 103), (1, 104), (59, 104), (62, 105), (999, LAST)):
        timed = replace(index, minute=minute, facts={"embargo_minutes": embargo})
        assert timed.sealed_bars(5, 0) == [(100, last)]


def test_spans_are_in_bars_or_in_minutes() -> None:
    index, rows = small_index(), np.array([2, 4])
    assert [part.tolist() for part in index.spans(5, rows)] == [[102, 104], [103, 105]]
    minute = index.minute * 5
    timed = replace(index, minute=minute, facts={"embargo_minutes": 1})
    assert [part.tolist() for part in timed.spans(5, rows)] == [
        minute[[2, 4]].tolist(),
        minute[[3, 5]].tolist(),
    ]


@pytest.mark.parametrize(("horizon", "fold", "known"), [(7, 0, r"\[5\]"), (5, 2, "-1 to 1")])
def test_an_unknown_horizon_or_fold_is_an_error_that_lists_the_known(
    horizon: int, fold: int, known: str
) -> None:
    with pytest.raises(InputError, match=known):
        small_index().rows(horizon, fold, TRAIN)


def test_another_artifact_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path / "x", small_index(), provenance("matrix", "dataset", {}, {}))
    with pytest.raises(InputError, match="expected 'index'"):
        read_index(tmp_path / "x")


def test_two_rows_of_one_bar_are_refused_by_number(tmp_path: Path) -> None:
    index = small_index()
    index.bar[4] = index.bar[3]
    write_index(tmp_path / "x", index, provenance("index", "dataset", {}, {}))
    with pytest.raises(
        InputError, match=r"row 4 is of bar 103 and the row before it of bar 103: .*\(1 of 10 rows"
    ):
        read_index(tmp_path / "x")
