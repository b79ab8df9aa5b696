"""A feature group is one file: put into a folder, it is listed, audited and trained on without another change."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import make_bars
from tests.laws.conftest import Chain
from typer.testing import CliRunner

from mlfactory.audit.audit import audit
from mlfactory.audit.params import Params, Settings
from mlfactory.features.registry import EXTRA_FOLDERS
from mlfactory_pipelines import cli

GROUP = '''
"""Fading of gaps."""
import numpy as np
from mlfactory.features import windows as w
from mlfactory.features.registry import feature


@feature({"gap_mean_10": 11, "gap_mean_40": 41}, unit="log price", source="Doe (2020)")
def gaps(x):
    """Mean log gap between bars."""
    return w.means(np.log(x.open / w.lag(x.close, 1)), 10, 40)
'''
COLUMNS = {"gap_mean_10": 11, "gap_mean_40": 41}


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "groups"
    folder.mkdir()
    (folder / "gaps.py").write_text(GROUP)
    monkeypatch.setenv(EXTRA_FOLDERS, str(folder))
    return folder


@pytest.mark.usefixtures("group")
def test_it_is_listed() -> None:
    rows = json.loads(CliRunner().invoke(cli.app, ["features", "--json"]).stdout)
    listed = {row["name"]: row for row in rows if row["group"] == "gaps"}
    assert {name: row["lookback"] for name, row in listed.items()} == COLUMNS
    assert {row["source"] for row in listed.values()} == {"Doe (2020)"}


@pytest.mark.usefixtures("group")
def test_it_is_audited() -> None:
    assert verdicts() == dict.fromkeys(COLUMNS, "passed")


def test_it_is_audited_and_fails_where_it_peeks(group: Path) -> None:
    peeking = GROUP.replace("w.lag(x.close, 1)", "np.roll(x.close, -1)")
    (group / "gaps.py").write_text(peeking)
    assert verdicts() == dict.fromkeys(COLUMNS, "failed")


def verdicts() -> dict[str, Any]:
    settings = Settings.model_validate(
        {
            "regime": {"window_bars": 300, "burn_in_bars": 60, "iterations": 5},
            "mtf": {"steps": [1, 5]},
            "features": {"groups": ["gaps"]},
        }
    )
    document = audit(make_bars(2600, hole=False), settings, Params())
    return {row["column"]: row["verdict"] for row in document["columns"] if row["group"] == "gaps"}


@pytest.mark.usefixtures("group")
def test_it_is_trained_on(chain: Chain, tmp_path: Path) -> None:
    made = ("bars", "regime", "mtf", "labels")
    run = Chain(tmp_path / "run", {name: chain.artifacts[name] for name in made})
    run.run("features", "features", params={"groups": ["gaps"]})
    run.keep("features")
    run.run("dataset", "dataset")
    run.keep("dataset")
    job = {"model": "logistic", "horizon": 20, "params": {}}
    run.run("train", "train", job=job, matrix=run.artifacts["boosting_optimal"])
    fit = json.loads((run.folder / "train" / "fit").read_text())
    assert fit["status"] == "ok"
    assert fit["feature_importance"].keys() == COLUMNS.keys()
    assert min(fit["feature_importance"].values()) > 0
    contract = json.loads((run.folder / "train" / "model" / "contract.json").read_text())
    assert contract["columns"] == list(COLUMNS)
