"""Law 5: nothing but ``report`` receives the labels of the locked test, and nothing before it depends on them."""

import inspect
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlfactory.common.artifacts import read_table, sha256, write_table
from mlfactory.common.bars import read_bars
from mlfactory.common.index import read_index
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.common.stage import call

from .conftest import Chain

LOCKED = "test_labels"


def readers(calls: dict[str, list[str]]) -> list[str]:
    """Tasks that receive the locked labels."""
    return sorted(task for task, inputs in calls.items() if LOCKED in inputs)


def inputs(chain: Chain) -> dict[str, list[str]]:
    found = {}
    for task, (run, _) in chain.calls.items():
        hints = typing.get_type_hints(run)
        names = [name for name in inspect.signature(run).parameters if hints[name] is Path]
        found[task] = [name for name in names if name not in chain.outputs[task]]
    return found


def test_only_the_report_receives_the_locked_labels(chain: Chain) -> None:
    assert readers(inputs(chain)) == ["report"]


def test_a_ranking_that_reads_the_locked_labels_would_be_caught(chain: Chain) -> None:
    def peeking(oof: Path, index: Path, test_labels: Path, ranking: Path) -> None:
        """Rank by outcomes that stacking must not see."""

    planted = replace(chain, calls={**chain.calls, "stacking": (peeking, {})})
    assert readers(inputs(planted)) == ["report", "stacking"]


def test_labels_reach_only_the_dataset(chain: Chain) -> None:
    assert sorted(task for task, names in inputs(chain).items() if "labels" in names) == ["dataset"]


def test_the_index_says_nothing_about_the_outcome_of_a_test_row(chain: Chain) -> None:
    index = read_index(chain.artifacts["index"])
    for h in index.horizons:
        rows = index.rows(h, REFIT, HELD_OUT)
        assert len(rows)
        assert (index.label[h][rows] == -1).all()
        assert (index.end[h][rows] == -1).all()
        assert np.isnan(index.long_net[h][rows]).all()
        assert np.isnan(index.short_net[h][rows]).all()


@pytest.mark.parametrize("artifact", ["index", "boosting_optimal", "neural_optimal"])
def test_other_outcomes_in_the_test_segment_change_nothing_that_training_reads(
    artifact: str, chain: Chain, tmp_path: Path
) -> None:
    labels, facts = read_table(chain.artifacts["labels"], "labels")
    index = read_index(chain.artifacts["index"])
    first = int(index.bar[index.rows(20, REFIT, HELD_OUT)].min())
    later = labels.index >= first
    labels.loc[later, "label_h20"] = -labels.loc[later, "label_h20"]
    labels.loc[later, "long_net_h20"] = 0.5
    write_table(tmp_path / "labels", labels, {k: v for k, v in facts.items() if k not in ("rows", "columns")})
    run, arguments = chain.calls["dataset"]
    outputs = {name: tmp_path / name for name in chain.outputs["dataset"]}
    call(run, {**arguments, **outputs, "labels": tmp_path / "labels"})
    assert sha256(outputs[LOCKED]) != sha256(chain.artifacts[LOCKED])
    assert contents(outputs[artifact]) == contents(chain.artifacts[artifact])


def contents(folder: Path) -> dict[str, str]:
    """Hashes of a folder's files, leaving out the provenance that names its inputs' hashes."""
    return {p.name: sha256(p) for p in folder.rglob("*") if p.is_file() and p.name != "provenance.json"}


def test_predictions_of_the_locked_test_carry_no_label(chain: Chain) -> None:
    for task in ("train-boosting", "train-classical", "train-neural"):
        frame, _ = read_table(chain.folder / task / "test_predictions", "test_predictions")
        assert len(frame)
        assert set(frame.columns) == {"row", "timestamp", "fold", "p_short", "p_flat", "p_long"}


def test_the_locked_test_is_the_end_of_the_series(chain: Chain) -> None:
    index = read_index(chain.artifacts["index"])
    test = index.rows(20, REFIT, HELD_OUT)
    development = np.flatnonzero(index.event & (index.label[20] >= 0))
    assert index.minute[test].min() > index.minute[development].max()
    assert read_bars(chain.artifacts["bars"]).minute[-1] >= index.minute[test].max()
