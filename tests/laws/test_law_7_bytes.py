"""Law 7: the same input and seed give the same bytes of every artifact of every stage."""

from pathlib import Path
from typing import Any

import pytest

from mlfactory.common.artifacts import PROVENANCE, read_provenance, sha256
from mlfactory.common.stage import call

from .conftest import JOBS, STAGES, Chain

TASKS = [stage for stage in STAGES if stage != "train"] + [f"train-{family}" for family in JOBS]


def differing(first: dict[str, Path], second: dict[str, Path]) -> list[str]:
    """Names of the artifacts whose bytes differ."""
    return [name for name, path in first.items() if sha256(path) != sha256(second[name])]


def again(chain: Chain, task: str, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Run a stage once more on the same inputs; give its outputs of both runs."""
    run, arguments = chain.calls[task]
    outputs = {name: folder / name for name in chain.outputs[task]}
    call(run, {**arguments, **outputs})
    return {name: arguments[name] for name in outputs}, outputs


@pytest.mark.parametrize("task", TASKS)
def test_a_stage_run_twice_writes_the_same_bytes(task: str, chain: Chain, tmp_path: Path) -> None:
    first, second = again(chain, task, tmp_path)
    assert first
    assert differing(first, second) == []


def test_a_time_in_an_artifact_would_be_caught(chain: Chain, tmp_path: Path) -> None:
    first, second = again(chain, "labels", tmp_path)
    with second["labels"].open("ab") as stream:
        stream.write(b"written at 12:00:01")
    assert differing(first, second) == ["labels"]


@pytest.mark.parametrize("task", TASKS)
def test_every_artifact_says_what_it_is_and_what_it_was_made_of(task: str, chain: Chain) -> None:
    folders_and_tables = [
        path
        for name in chain.outputs[task]
        if (path := chain.folder / task / name).is_dir() or path.read_bytes()[:4] == b"PAR1"
    ]
    for path in folders_and_tables:
        facts: dict[str, Any] = read_provenance(path)
        assert facts["schema_version"] == 1
        assert facts["artifact"] == path.name
        assert all(len(digest) == 64 for digest in facts["inputs"].values())
        text = (path / PROVENANCE).read_text() if path.is_dir() else str(facts)
        assert str(chain.folder) not in text
