"""A feature group is one file in a folder of the user's: it is listed, computed, audited and trained on."""

import json
from pathlib import Path

import pytest

from mlfactory.common.artifacts import read_json
from mlfactory.features.registry import EXTRA_FOLDERS
from mlfactory_pipelines import cli

from .conftest import PARAMS, Chain

OWN = '''
"""A group of one's own."""
import numpy as np
from mlfactory.features.registry import feature


@feature({"own_move": 16}, unit="log return", source="plain")
def own_move(x):
    """Log return over 15 bars."""
    price = np.log(x.close)
    return price - np.r_[np.repeat(price[0], 15), price][: len(x)]
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "own.py").write_text(OWN)
    monkeypatch.setenv(EXTRA_FOLDERS, str(tmp_path / "groups"))


@pytest.mark.usefixtures("own")
def test_a_group_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["features", "--json"])
    assert not end.value.code
    [listed] = [row for row in json.loads(capsys.readouterr().out) if row["group"] == "own"]
    assert (listed["name"], listed["lookback"]) == ("own_move", 16)


@pytest.mark.usefixtures("own")
def test_a_group_is_audited_and_trained_on(chain: Chain, tmp_path: Path) -> None:
    mine = Chain(tmp_path, artifacts=dict(chain.artifacts))
    groups = {"groups": ["own"]}
    mine.run("features", "features", params=groups, features=tmp_path / "features" / "features")
    sections = {name: PARAMS[name] for name in ("regime", "mtf")}
    mine.run("audit", "audit", features=groups, labels={}, **sections)
    rows = {row["column"]: row for row in read_json(tmp_path / "audit" / "audit")["columns"]}
    assert (rows["own_move"]["group"], rows["own_move"]["verdict"]) == ("own", "passed")

    mine.artifacts["features"] = tmp_path / "features" / "features"
    for name in ("boosting_optimal", "neural_optimal", "transformer_raw", "index", "test_labels"):
        del mine.artifacts[name]
    mine.run("dataset", "dataset")
    mine.keep("dataset")
    job = {"model": "lightgbm", "horizon": 20, "params": {"rounds": 8}}
    mine.run("train", "train", job=job, matrix=mine.artifacts["boosting_optimal"])
    assert read_json(tmp_path / "train" / "fit")["feature_importance"] == {"own_move": 1.0}
