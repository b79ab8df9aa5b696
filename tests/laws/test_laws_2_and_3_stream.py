"""Laws 2 and 3 from the file on: what was known stays bit-identical when bars follow, whatever came first."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlfactory.common.artifacts import read_table
from mlfactory.common.bars import COLUMNS
from mlfactory.common.stage import call

from .conftest import PARAMS, Chain

CUT = 6500
STAGES = ("ingest", "regime", "mtf", "features", "labels")
FILES = ("bars", "quarantine", "data_report", "regime_report", "states", *STAGES[1:])


def stream(source: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """Run the causal stages on a file that holds ``source``."""
    folder.mkdir()
    source.to_parquet(folder / "source.parquet")
    path = {name: folder / name for name in FILES}
    wires = {
        "ingest": {"source": str(folder / "source.parquet"), "symbol": "ES", "bars_version": ""},
        "regime": {},
        "mtf": {},
        "features": {},
        "labels": {},
    }
    names = {
        "ingest": ("bars", "quarantine", "data_report"),
        "regime": ("bars", "regime", "regime_report", "states"),
        "mtf": ("bars", "mtf"),
        "features": ("bars", "regime", "mtf", "features"),
        "labels": ("bars", "labels"),
    }
    for stage in STAGES:
        run = importlib.import_module(f"mlfactory.{stage}.stage").run
        given = {name: path[name] for name in names[stage]}
        call(run, {**wires[stage], **given, "params": dict(PARAMS.get(stage, {}))})
    return {name: read_table(path[name], name)[0] for name in ("regime", "features", "labels")}


@pytest.fixture(scope="module")
def source(chain: Chain) -> pd.DataFrame:
    return read_table(chain.artifacts["bars"], "bars")[0][list(COLUMNS)]


@pytest.fixture(scope="module")
def whole(source: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    return stream(source, tmp_path_factory.mktemp("stream") / "whole")


@pytest.fixture(scope="module")
def past(source: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    return stream(source[:CUT], tmp_path_factory.mktemp("stream") / "past")


@pytest.fixture(scope="module")
def late(source: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    return stream(source[1111:], tmp_path_factory.mktemp("stream") / "late")


def changed_columns(whole: pd.DataFrame, part: pd.DataFrame) -> list[str]:
    """Columns of which a row differs in any bit."""
    numbers = (name for name in part.columns if name != "timestamp")
    pairs = ((name, whole[name].to_numpy(), part[name].to_numpy()) for name in numbers)
    return [name for name, a, b in pairs if a.tobytes() != b.tobytes()]


@pytest.mark.parametrize("table", ["regime", "features"])
def test_rows_stay_bit_identical_when_bars_follow(
    table: str, whole: dict[str, pd.DataFrame], past: dict[str, pd.DataFrame]
) -> None:
    assert len(past[table]) == CUT
    assert past[table].notna().to_numpy()[-1].all()
    assert changed_columns(whole[table][:CUT], past[table]) == []


def test_a_column_that_peeks_one_bar_is_caught(whole: dict[str, pd.DataFrame], source: pd.DataFrame) -> None:
    peek = source["close"].shift(-1)
    full, part = whole["features"].assign(peek=peek), whole["features"][:CUT].assign(peek=peek[: CUT - 1])
    assert changed_columns(full[:CUT], part) == ["peek"]


def test_finished_labels_stay_bit_identical_when_bars_follow(
    whole: dict[str, pd.DataFrame], past: dict[str, pd.DataFrame]
) -> None:
    finished = past["labels"]["valid_h20"].to_numpy()
    assert finished.sum() > CUT * 0.7
    assert changed_columns(whole["labels"][:CUT][finished], past["labels"][finished]) == []


def origin_dependent(whole: pd.DataFrame, late: pd.DataFrame, rows: int) -> list[str]:
    """Columns whose last ``rows`` values differ by more than one part in a million of their scale."""
    found = []
    for name in (name for name in late.columns if name not in ("timestamp", "row")):
        a, b = (table[name].to_numpy(dtype=np.float64)[-rows:] for table in (whole, late))
        scale = np.maximum(np.abs(a), np.abs(a).mean())
        if not (np.abs(a - b) <= 1e-6 * scale).all():
            found.append(name)
    return found


@pytest.mark.parametrize("table", ["regime", "features"])
def test_values_do_not_depend_on_where_the_file_starts(
    table: str, whole: dict[str, pd.DataFrame], late: dict[str, pd.DataFrame]
) -> None:
    assert origin_dependent(whole[table], late[table], 1500) == []


def test_a_column_that_depends_on_where_the_file_starts_is_caught(
    whole: dict[str, pd.DataFrame], late: dict[str, pd.DataFrame], source: pd.DataFrame
) -> None:
    mean = source["close"].expanding().mean()
    later = source["close"][1111:].expanding().mean()
    planted = late["features"].assign(mean=later.to_numpy())
    assert origin_dependent(whole["features"].assign(mean=mean), planted, 1500) == ["mean"]
