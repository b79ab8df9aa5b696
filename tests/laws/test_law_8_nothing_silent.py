"""Law 8: no stage swallows an unknown parameter, a wrong artifact or a missing file."""

import typing
from pathlib import Path
from typing import Any

import pytest

from mlfactory.common.artifacts import provenance, read_table, write_json, write_table
from mlfactory.common.errors import InputError
from mlfactory.common.stage import call

from .conftest import STAGES, Chain

INPUTS = {
    "regime": ["bars"],
    "mtf": ["bars"],
    "features": ["bars", "regime", "mtf"],
    "labels": ["bars"],
    "dataset": ["features", "labels", "mtf"],
    "train-boosting": ["matrix", "index"],
    "oof": ["index"],
    "stacking": ["oof", "index"],
    "report": ["oof", "ensemble_predictions", "ranking", "index", "test_labels"],
}
DOCUMENTS = ("data_report", "regime_report")
"""JSON for the page alone; the tests of the report give it others."""
WIRES = [(task, name) for task, names in INPUTS.items() for name in names]


def attempt(chain: Chain, task: str, folder: Path, **changes: Any) -> None:
    run, arguments = chain.calls[task]
    outputs = {name: folder / name for name in chain.outputs[task]}
    call(run, {**arguments, **outputs, **changes})


def test_the_table_of_wires_names_every_artifact_that_a_stage_reads(chain: Chain) -> None:
    for task, names in INPUTS.items():
        run, arguments = chain.calls[task]
        hints = typing.get_type_hints(run)
        read = {
            name
            for name in arguments
            if hints[name] is Path and name not in chain.outputs[task] and name not in DOCUMENTS
        }
        assert read == set(names), task


@pytest.mark.parametrize("task", [stage for stage in STAGES if stage != "train"])
def test_an_unknown_parameter_is_an_error_that_names_it(task: str, chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{task}\.no_such_key is not a parameter"):
        attempt(chain, task, tmp_path, params={"no_such_key": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("task", "name"), WIRES)
def test_another_artifact_in_place_of_an_input_is_an_error(
    task: str, name: str, chain: Chain, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    facts = provenance("quarantine", "ingest", {}, {})
    frame, _ = read_table(chain.artifacts["quarantine"], "quarantine")
    if (chain.calls[task][1][name]).is_dir():
        wrong.mkdir()
        write_json(wrong / "provenance.json", facts)
    elif name == "ranking":
        write_json(wrong, facts)
    else:
        write_table(wrong, frame, facts)
    with pytest.raises(InputError, match=r"quarantine|is not the (artifact|table)|made with another"):
        attempt(chain, task, tmp_path / "out", **{name: wrong})
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("task", "name"), WIRES)
def test_a_missing_input_is_an_error_that_names_the_file(
    task: str, name: str, chain: Chain, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="absent"):
        attempt(chain, task, tmp_path / "out", **{name: tmp_path / "absent"})


def test_no_row_is_lost_between_the_source_and_the_matrices(chain: Chain) -> None:
    bars, facts = read_table(chain.artifacts["bars"], "bars")
    features, _ = read_table(chain.artifacts["features"], "features")
    labels, _ = read_table(chain.artifacts["labels"], "labels")
    assert facts["rows"] == len(bars) == len(features) == len(labels)
    assert (features["timestamp"] == bars["timestamp"]).all()
    assert (labels["timestamp"] == bars["timestamp"]).all()
