"""Work in a child process: results in files, errors as facts, and no trace in the parent."""

import os
import resource
from pathlib import Path

import pytest

from mlfactory.common.errors import InputError
from mlfactory.train.child import Failure, isolated


def test_work_that_finishes_leaves_its_files_and_no_failure(tmp_path: Path) -> None:
    assert isolated(lambda: (tmp_path / "done").touch(), tmp_path / "report") is None
    assert (tmp_path / "done").exists()
    assert not (tmp_path / "report").exists()


def test_an_input_error_is_raised_again_and_shows_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise InputError("column x is nan")

    with pytest.raises(InputError, match="column x is nan"):
        isolated(work, tmp_path / "report")
    assert "Traceback" not in capfd.readouterr().err


def test_any_other_error_is_a_fact_and_its_traceback_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise ZeroDivisionError("by zero")

    assert isolated(work, tmp_path / "report") == Failure("ZeroDivisionError", "by zero")
    assert "ZeroDivisionError: by zero" in capfd.readouterr().err


def test_a_process_that_is_killed_is_a_fact(tmp_path: Path) -> None:
    failure = isolated(lambda: os.kill(os.getpid(), 15), tmp_path / "report")
    assert failure == Failure("ProcessDied", "the fit was killed by SIGTERM")


def test_the_child_holds_libraries_to_one_thread_and_the_parent_keeps_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def work() -> None:
        (tmp_path / "threads").write_text(os.environ["OMP_NUM_THREADS"])

    assert isolated(work, tmp_path / "report") is None
    assert (tmp_path / "threads").read_text() == "1"
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("size", [12_000_000, 70_000_000])
def test_large_blocks_are_used_again_instead_of_being_fetched_anew(size: int, tmp_path: Path) -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            bytearray(b"x") * size
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def work() -> None:
        faults()
        assert faults() < size // 4096  # the pages of one block

    assert isolated(work, tmp_path / "report") is None
