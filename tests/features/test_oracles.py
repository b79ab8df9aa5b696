"""Every column of every group equals an independent definition on real bars, or says here why it has none."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import feature_chain as chain
import numpy as np
import pandas as pd
import pytest
import real_bars
from ladder_oracles import BASE, INDICATORS, ladder_column
from oracles import ORACLES, Oracle, frame_of
from tests.conftest import make_bars

from mlfactory.common.bars import Bars
from mlfactory.features.registry import Column, describe, load
from mlfactory.features.segment import Setting
from mlfactory.regime import compute as regimes

SETTING = Setting(1, chain.STEPS[1:], regimes.lookbacks(chain.REGIME, 1))
SERIES = ("toy", "es", "spy")
SETTLED = 1500
"""Rows after which TA-Lib's smoothing, which starts at the first bar, has forgotten it."""
WITHOUT = {
    **dict.fromkeys(
        ("sar", "sar_gap", "sar_side", "supertrend", "supertrend_gap", "supertrend_side"),
        "starts anew at every session, as no library's does: hand-made cases in test_formulas.py",
    ),
    **dict.fromkeys(
        SETTING.regime,
        "repeats the regime artifact, which tests/regime compares with hmmlearn and TA-Lib",
    ),
}
"""Columns without an oracle, and why."""


def ladder_name(column: Column) -> tuple[str, int]:
    name, _, step = column.name.rpartition("_")
    return name, int(step.removesuffix("m"))


def without_oracle(columns: Iterable[Column]) -> list[str]:
    """Names of the columns that nothing independent defines and that no reason excuses."""
    return [
        column.name
        for column in columns
        if column.name not in {*ORACLES, *WITHOUT}
        and not (column.group == "mtf" and ladder_name(column)[0] in {*INDICATORS, *BASE})
    ]


def registered(folders: Iterable[Path] = ()) -> list[Column]:
    return [column for columns in describe(load(folders), SETTING).values() for column in columns]


def test_every_registered_column_has_an_oracle_or_a_reason() -> None:
    assert without_oracle(registered()) == []
    names = {column.name for column in registered()}
    assert set(ORACLES) | set(WITHOUT) <= names, "oracles of columns that do not exist"
    assert not set(ORACLES) & set(WITHOUT)


def test_a_column_without_an_oracle_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from mlfactory.features.registry import feature\n"
        "@feature({'mine': 1}, unit='price')\n"
        "def mine(x):\n    'The close.'\n    return x.close\n"
    )
    assert without_oracle(registered([tmp_path])) == ["mine"]


@pytest.fixture(scope="module", params=SERIES)
def computed(request: pytest.FixtureRequest) -> tuple[Bars, pd.DataFrame, chain.Table]:
    if request.param == "toy":
        bars = make_bars(4000, hole=False)
    else:
        folder = request.getfixturevalue("shared_data")
        bars = getattr(real_bars, request.param)(folder, slice(40_000, 44_000))
        trading = (bars.minute >= bars.session_open) & (bars.minute < bars.session_close)
        bars = replace(bars, **{k: v[trading] for k, v in vars(bars).items() if isinstance(v, np.ndarray)})
        bars = replace(bars, segment=np.zeros(len(bars), np.int64))
    groups = sorted({column.group for column in registered()} - {"regime"})
    return bars, frame_of(bars), chain.table(bars, groups=groups)


def disagreement(ours: np.ndarray, theirs: np.ndarray, oracle: Oracle) -> str:
    """Say how a column differs from its definition; empty where it does not."""
    ours, theirs = (np.asarray(values, dtype=float)[SETTLED:] for values in (ours, theirs))
    clear = np.isfinite(theirs)
    if clear.mean() < oracle.known:
        return f"the definition has a value on {clear.mean():.1%} of the rows"
    apart = ~np.isclose(ours[clear], theirs[clear], rtol=2e-6, atol=oracle.absolute)
    if apart.mean() <= oracle.differ:
        return ""
    worst = int(np.argmax(np.abs(ours[clear] - theirs[clear])))
    return f"{apart.mean():.2%} of rows differ, at worst {ours[clear][worst]} for {theirs[clear][worst]}"


@pytest.mark.parametrize("name", list(ORACLES))
def test_a_column_equals_its_independent_definition(
    name: str, computed: tuple[Bars, pd.DataFrame, chain.Table]
) -> None:
    _, frame, found = computed
    with np.errstate(all="ignore"):
        theirs = ORACLES[name].compute(frame).to_numpy(float, copy=True)
    assert disagreement(found[name], theirs, ORACLES[name]) == ""


@pytest.mark.parametrize("name", [*INDICATORS, *BASE])
def test_a_ladder_column_equals_its_independent_definition(
    name: str, computed: tuple[Bars, pd.DataFrame, chain.Table]
) -> None:
    bars, _, found = computed
    oracle = Oracle(lambda f: f, 1e-3 if name in ("high", "low", "sma_20") else 1e-6)
    for step in (step for step in SETTING.steps if step > bars.bar_minutes):
        with np.errstate(all="ignore"):
            theirs = ladder_column(bars, name, step).to_numpy(float, copy=True)
        assert disagreement(found[f"{name}_{step}m"], theirs, oracle) == "", step


def test_a_column_that_is_shifted_or_scaled_by_a_thousandth_disagrees(
    computed: tuple[Bars, pd.DataFrame, chain.Table],
) -> None:
    _, frame, found = computed
    oracle = ORACLES["hvol_60"]
    theirs = oracle.compute(frame).to_numpy(float, copy=True)
    assert "rows differ" in disagreement(np.roll(found["hvol_60"], 1), theirs, oracle)
    assert "rows differ" in disagreement(1.001 * found["hvol_60"], theirs, oracle)
