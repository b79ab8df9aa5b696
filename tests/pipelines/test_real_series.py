"""The whole pipeline on real futures and on bitcoin, at four horizons, under each scheme of folds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.pipelines.conftest import Command, sets

pytestmark = pytest.mark.slow

HORIZONS = ("5", "10", "15", "20")
SMALL = sets(
    [
        f"labels.horizons=[{', '.join(HORIZONS)}]",
        "regime.window_bars=720",
        "stacking.draws=1000",
        "stacking.combiners=[voting, meta_ridge]",
        "report.draws=1000",
        "model.lightgbm.rounds=40",
        "model.lightgbm.min_leaf_rows=100",
    ]
)
MODELS = {"lightgbm", "logistic", "voting", "meta_ridge"}


@dataclass(frozen=True)
class Series:
    """A series, and what is set besides."""

    file: str
    symbol: str
    options: tuple[str, ...]
    paths: int = 0


SERIES = {
    "ES, K-fold, rolled": Series(
        "es_5m_front.parquet",
        "ES",
        ("ingest.last=16000", "dataset.n_folds=3", "dataset.stride=2", "labels.rolls=[2026-03-16T22:00:00Z]"),
    ),
    "BTC, combinatorial, by time": Series(
        "btcusd_1m_2017_2018.parquet",
        "BTCUSD",
        (
            "ingest.last=16000",
            "dataset.scheme=combinatorial",
            "dataset.n_folds=4",
            "dataset.stride=5",
            "dataset.purge_by=time",
        ),
        paths=3,
    ),
    "BTC, walk-forward, by return": Series(
        "btcusd_1m_2017_2018.parquet",
        "BTCUSD",
        (
            "ingest.last=16000",
            "dataset.scheme=walk_forward",
            "dataset.n_folds=3",
            "dataset.train_blocks=2",
            "dataset.stride=5",
            "dataset.embargo_bars=60",
            "reading.boosting.weights={by: return, oldest: 0.5}",
        ),
    ),
}


@pytest.fixture(scope="module", params=SERIES)
def made(
    request: pytest.FixtureRequest,
    shared_data: Path,
    mlfactory: Command,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Series, dict[str, Any], str]:
    """Run a series; give its report and its page."""
    series, out = SERIES[request.param], tmp_path_factory.mktemp("real") / "run"
    source = ["--bars", shared_data / series.file, "--symbol", series.symbol, "--models", "lightgbm,logistic"]
    done = mlfactory("run", *source, "--out", out, *SMALL, *sets(series.options))
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return series, document, (out / "report.html").read_text(encoding="utf-8")


Made = tuple[Series, dict[str, Any], str]


def test_every_model_is_judged_at_every_horizon_and_none_failed(made: Made) -> None:
    _, document, _ = made
    assert document["failed"] == []
    judged = {(str(row["horizon"]), row["model"]) for row in document["leaderboard"]}
    assert judged == {(h, model) for h in HORIZONS for model in MODELS}


def test_no_model_is_far_from_the_prior(made: Made) -> None:
    _, document, _ = made
    for row in document["leaderboard"]:
        assert 0.9 < row["prior_log_loss"] < 1.15
        assert -0.15 < row["gain"] < 0.05  # more on minute bars would be a leak
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert row["n"] > 300
    for row in document["development_ranking"]:
        assert -0.15 < row["gain"] < 0.05


def test_classes_are_balanced_and_longer_horizons_wait_longer(made: Made) -> None:
    _, document, _ = made
    for h in HORIZONS:
        balance = document["class_balance"][h]["development"]
        assert min(balance[name] for name in ("short", "flat", "long")) > 0.08
        assert 0.6 < balance["short"] / balance["long"] < 1.6
    trades = {row["horizon"]: row["trades"] for row in document["baselines"] if row["model"] == "always_long"}
    assert trades[5] > trades[10] > trades[20]


def test_staying_out_earns_nothing_and_trading_blindly_pays_the_costs(made: Made) -> None:
    _, document, _ = made
    rows = {(str(row["horizon"]), row["model"]): row for row in document["baselines"]}
    for h in HORIZONS:
        assert rows[h, "always_flat"]["net_return"] == 0
        assert rows[h, "always_long"]["trades"] > 50
    assert sum(rows[h, "always_long"]["mean_trade"] for h in HORIZONS) < 0.002


def test_combinatorial_folds_show_a_distribution_and_others_do_not(made: Made) -> None:
    series, document, page = made
    assert ('id="paths"' in page) == bool(series.paths)
    assert set(document["paths"]) == (set(HORIZONS) if series.paths else set())
    for told in document["paths"].values():
        assert told["paths"] == series.paths
        assert {model["model"] for model in told["models"]} == MODELS
        for model in told["models"]:
            assert len(model["gain"]["values"]) == series.paths
            assert -0.3 < model["gain"]["least"] <= model["gain"]["largest"] < 0.05
