"""Bars to feature columns through the real regime and ladder code, and the checks of laws 2 and 3 on them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Bars
from mlfactory.features.compute import compute, plan, setting_of
from mlfactory.features.params import Params
from mlfactory.features.registry import Column, load
from mlfactory.mtf.bins import build, usable
from mlfactory.regime import compute as regimes
from mlfactory.regime.params import Params as RegimeParams

REGIME = RegimeParams(window_bars=300, burn_in_bars=60, iterations=5)
STEPS = (1, 5, 10, 15, 20, 25, 30, 45, 60)


@dataclass(frozen=True)
class Table:
    """Feature columns of a series."""

    columns: tuple[Column, ...]
    values: NDArray[np.float32]
    """shape (columns, bars)"""

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.values[[column.name for column in self.columns].index(name)]


def table(
    bars: Bars,
    *,
    groups: Sequence[str] = (),
    folders: Iterable[Path] = (),
    check: bool = False,
    regime: RegimeParams = REGIME,
) -> Table:
    """Compute regimes, ladder and features of ``bars``."""
    wanted = not groups or "regime" in groups
    lookback = regimes.lookbacks(regime, bars.bar_minutes) if wanted else {}
    states = regimes.compute(bars, regime) if wanted else {}
    ladder = build(bars, usable(STEPS, bars.bar_minutes)[0])
    chosen = plan(load(folders), setting_of(bars, ladder, lookback), Params(groups=tuple(groups)))
    return Table(chosen.columns, compute(bars, states, ladder, chosen, check=check))


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two columns hold the same value; two NaN are the same value."""
    return (a == b) | (np.isnan(a) & np.isnan(b))


Mutation = Callable[[Bars, int, np.random.Generator], Bars]


def wild(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Replace all later bars by a wilder walk with other volume."""
    rest = len(bars) - cut
    close = bars.close[cut - 1] * np.exp(np.cumsum(rng.normal(0, 0.01, rest)))
    opened = close * np.exp(rng.normal(0, 0.01, rest))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, 0.01, rest)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, 0.01, rest)))
    volume = rng.integers(0, 10_000, rest).astype(float)
    return _after(bars, cut, open=opened, high=high, low=low, close=close, volume=volume)


def tenfold(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Multiply all later prices by ten."""
    return _after(bars, cut, **{k: 10 * getattr(bars, k)[cut:] for k in ("open", "high", "low", "close")})


def voiceless(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Remove the volume of all later bars."""
    return _after(bars, cut, volume=np.full(len(bars) - cut, np.nan))


def thinned(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Delete a third of the later bars."""
    return _rows(bars, np.r_[np.arange(cut), cut + np.flatnonzero(rng.random(len(bars) - cut) < 0.67)])


def truncated(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """End the series at the cut."""
    return bars[:cut]


MUTATIONS: tuple[Mutation, ...] = (wild, tenfold, voiceless, thinned, truncated)


def _after(bars: Bars, cut: int, **rest: NDArray[np.float64]) -> Bars:
    return replace(bars, **{k: np.r_[getattr(bars, k)[:cut], values] for k, values in rest.items()})


def _rows(bars: Bars, rows: NDArray[np.int64]) -> Bars:
    return replace(bars, **{k: v[rows] for k, v in vars(bars).items() if isinstance(v, np.ndarray)})


@dataclass
class LookAhead:
    """What corrupting the future did to each column."""

    changed_before: set[str]
    """columns with a changed value at a row before some cut: they look ahead"""
    changed_after: set[str]
    """columns that some corruption changed after its cut: the test could see them"""


def look_ahead(bars: Bars, cuts: Sequence[int], compute_table: Callable[[Bars], Table]) -> LookAhead:
    """Corrupt the bars from each cut on, in every way in turn, and compare bit for bit."""
    whole = compute_table(bars)
    names = np.array([column.name for column in whole.columns])
    found = LookAhead(set(), set())
    rng = np.random.default_rng(7)
    for i, cut in enumerate(cuts):
        for k in range(3):  # each cut sees three of the five, each of the five is seen at several cuts
            mutation = MUTATIONS[(i + k) % len(MUTATIONS)]
            other = compute_table(mutation(bars, cut, rng))
            size = min(len(bars), other.values.shape[1])
            same = same_bits(whole.values[:, :size], other.values[:, :size])
            found.changed_before |= set(names[~same[:, :cut].all(axis=1)].tolist())
            found.changed_after |= set(names[~same[:, cut:].all(axis=1)].tolist())
    return found


def origin_error(
    bars: Bars, rows: Sequence[int], whole: Table, compute_table: Callable[..., Table]
) -> dict[str, float]:
    """Feed only each column's look-back; return the largest error over the column's recent scale, by name.

    Args:
        bars: the series.
        rows: last rows to compare.
        whole: the columns computed from all bars.
        compute_table: computes columns from bars and ``groups``.
    """
    worst = dict.fromkeys((column.name for column in whole.columns), 0.0)
    for lookback in sorted({column.lookback for column in whole.columns}):
        members = [i for i, column in enumerate(whole.columns) if column.lookback == lookback]
        groups = sorted({whole.columns[i].group for i in members})
        for row in rows:
            if bars.row_in_segment[row] < lookback - 1:
                continue
            part = compute_table(bars[row - lookback + 1 : row + 1], groups=groups)
            for i in members:
                name = whole.columns[i].name
                a, b = float(whole.values[i, row]), float(part[name][-1])
                recent = whole.values[i, max(row - lookback, 0) : row + 1]
                scale = max(abs(a), float(np.nanmax(np.abs(recent))))
                error = 0.0 if a == b else abs(a - b) / scale if np.isfinite([a, b]).all() else np.inf
                worst[name] = max(worst[name], error)
    return worst
