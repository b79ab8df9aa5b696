"""The mtf stage from file to folder."""

from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.artifacts import provenance, read_provenance, sha256
from mlfactory.common.bars import Bars, write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.ladder import read_ladder
from mlfactory.common.stage import call
from mlfactory.mtf.bins import build
from mlfactory.mtf.stage import run


@pytest.fixture
def file(tmp_path: Path, bars: Bars) -> Path:
    path = tmp_path / "bars.parquet"
    write_bars(path, bars, provenance("bars", "ingest", {}, {}))
    return path


def test_the_folder_holds_what_was_built(tmp_path: Path, file: Path, bars: Bars) -> None:
    summary = run(file, tmp_path / "mtf")
    read, built = read_ladder(tmp_path / "mtf"), build(bars, [1, 5, 10, 15, 20, 25, 30, 45, 60])
    assert read.steps == built.steps
    np.testing.assert_array_equal(read.alignment, built.alignment)
    np.testing.assert_array_equal(read.session_minute, built.session_minute)
    for step in built.steps:
        for name, column in vars(built.tables[step]).items():
            np.testing.assert_array_equal(getattr(read.tables[step], name), column)
        np.testing.assert_array_equal(read.age(step, "session"), built.age(step, "session"))
    assert summary.metrics["bars_60"] == len(built.tables[60])


def test_provenance_tells_the_steps_and_those_left_out(tmp_path: Path, file: Path) -> None:
    call(
        run, {"bars": file, "mtf": tmp_path / "mtf", "params": {"steps": [15.0, 1440.0]}}
    )  # as KFP sends them
    facts = read_provenance(tmp_path / "mtf")
    assert (facts["steps"], facts["notes"], facts["rows"]) == ([15, 1440], [], 6000)


def test_two_runs_write_the_same_bytes(tmp_path: Path, file: Path) -> None:
    run(file, tmp_path / "a")
    run(file, tmp_path / "b")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


@pytest.mark.parametrize("steps", [[], [0], ["x"]])
def test_steps_that_are_no_minutes_are_errors(tmp_path: Path, file: Path, steps: list[object]) -> None:
    with pytest.raises(InputError, match=r"mtf\.steps"):
        call(run, {"bars": file, "mtf": tmp_path / "mtf", "params": {"steps": steps}})


def test_another_artifact_is_refused(tmp_path: Path, file: Path) -> None:
    run(file, tmp_path / "mtf")
    with pytest.raises(InputError, match="expected 'bars'"):
        run(tmp_path / "mtf" / "ladder_5.parquet", tmp_path / "again")
    with pytest.raises(InputError, match="not the artifact 'mtf'"):
        read_ladder(tmp_path)
