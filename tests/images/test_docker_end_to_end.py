"""The pipeline gives the same numbers in containers as in processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("images")]

REPOSITORY = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-9
HASHES = re.compile(r"[0-9a-f]{64}")


def run(out: Path, runner: str) -> Path:
    command = [sys.executable, "-m", "mlfactory_pipelines", "run", "--preset", "smoke"]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}/components:{REPOSITORY}/pipelines"}
    done = subprocess.run(
        [*command, "--runner", runner, "--out", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, images: None) -> tuple[Path, Path]:
    """The folder of a run in processes and of a run in containers."""
    folder = tmp_path_factory.mktemp("runs")
    return run(folder / "processes", "subprocess"), run(folder / "containers", "docker")


def artifacts(out: Path, pattern: str) -> dict[str, Path]:
    """Files of a run by their place below the pipeline's folder, whose name holds the time."""
    [root] = (out / "root").glob("ml-factory-*")
    files = (path for path in root.rglob(pattern) if path.is_file())
    return {path.relative_to(root).as_posix(): path for path in sorted(files)}


def compare(one: Any, other: Any, place: str) -> None:
    """Demand equal structure, text and whole numbers, and floats that agree to 1e-9."""
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one:
            compare(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            compare(left, right, f"{place}[{number}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=TOLERANCE), place
    elif not (
        isinstance(one, str) and HASHES.fullmatch(one)
    ):  # hashes differ where the last bit of a float does
        assert one == other, place


def tables(out: Path) -> dict[str, Path]:
    return {name: path for name, path in artifacts(out, "*").items() if path.read_bytes()[:4] == b"PAR1"}


def test_every_task_leaves_the_same_outputs(runs: tuple[Path, Path]) -> None:
    processes, containers = (json.loads((out / "artifacts.json").read_text()) for out in runs)
    assert list(processes) == list(containers)
    assert len(processes) > 20


def test_every_table_has_the_same_rows_and_numbers(runs: tuple[Path, Path]) -> None:
    processes, containers = (tables(out) for out in runs)
    assert list(processes) == list(containers)
    assert len(processes) > 10
    for name, path in processes.items():
        pd.testing.assert_frame_equal(
            pd.read_parquet(path), pd.read_parquet(containers[name]), rtol=TOLERANCE, atol=0, obj=name
        )


def test_every_matrix_has_the_same_numbers(runs: tuple[Path, Path]) -> None:
    processes, containers = (artifacts(out, "*.npy") for out in runs)
    assert list(processes) == list(containers)
    assert processes
    for name, path in processes.items():
        one, other = np.load(path), np.load(containers[name])
        np.testing.assert_allclose(one, other, rtol=TOLERANCE, atol=0, err_msg=name)


def test_models_have_the_same_ranks_and_scores(runs: tuple[Path, Path]) -> None:
    processes, containers = (artifacts(out, "stacking/ranking") for out in runs)
    [one], [other] = processes.values(), containers.values()
    compare(json.loads(one.read_text()), json.loads(other.read_text()), "ranking")


def test_the_reports_agree(runs: tuple[Path, Path]) -> None:
    processes, containers = (json.loads((out / "report.json").read_text()) for out in runs)
    compare(processes, containers, "report")


def test_a_number_or_a_rank_that_differs_is_noticed() -> None:
    ranks = {"rows": [{"model": "a", "log_loss": 1.0}, {"model": "b", "log_loss": 1.1}]}
    for planted in (
        {"rows": ranks["rows"][::-1]},
        {"rows": [{"model": "a", "log_loss": 1.0 + 1e-8}, ranks["rows"][1]]},
    ):
        with pytest.raises(AssertionError):
            compare(ranks, planted, "ranking")
