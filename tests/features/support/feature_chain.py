"""Bars to feature columns through the real regime and ladder code."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
