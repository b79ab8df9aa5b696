"""Ways to corrupt every bar from a cut on; bars before the cut keep every bit."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import PRICES, Bars, Floats, Ints

Garbage = Callable[[Bars, int, np.random.Generator], Bars | None]
"""Returns None where a series offers no room for this kind: no volume to remove, no minute to insert a bar."""

_HOLE_BARS: Final = 90
_INSERTED: Final = 5  # bars per gap at most: a gap may be a weekend
_FEWEST: Final = 6  # bars after a cut that deleting some of them needs


def wild(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Another walk, twenty times as volatile, with other volume."""
    rest = len(bars) - cut
    close = bars.close[max(cut - 1, 0)] * np.exp(np.cumsum(rng.normal(0, 0.01, rest)))
    opened = close * np.exp(rng.normal(0, 0.01, rest))
    return _after(bars, cut, opened, close, rng.integers(0, 10_000, rest).astype(np.float64))


def tenfold(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Ten times the price."""
    return _with(bars, cut, {name: 10 * getattr(bars, name)[cut:] for name in PRICES})


def frozen(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """Flat bars at the last price without volume, as in a halt."""
    still = np.full(len(bars) - cut, bars.close[max(cut - 1, 0)])
    return _after(bars, cut, still, still, np.zeros_like(still), reach=0.0)


def voiceless(bars: Bars, cut: int, rng: np.random.Generator) -> Bars | None:
    """Missing volume."""
    if not bars.has_volume:
        return None
    return _with(bars, cut, {"volume": np.full(len(bars) - cut, np.nan)})


def thinned(bars: Bars, cut: int, rng: np.random.Generator) -> Bars | None:
    """A third of the bars deleted, the first one among them."""
    kept = rng.random(len(bars) - cut) < 2 / 3
    kept[:1] = False
    return _rows(bars, np.r_[:cut, cut + np.flatnonzero(kept)]) if kept.any() else None


def holed(bars: Bars, cut: int, rng: np.random.Generator) -> Bars | None:
    """A hole at the cut: bars deleted, and a segment begins behind them."""
    rest = len(bars) - cut
    if rest < _FEWEST:
        return None
    first = cut + min(_HOLE_BARS, rest // 2)
    left = _rows(bars, np.r_[:cut, first : len(bars)])
    return replace(left, segment=left.segment + (np.arange(len(left)) >= cut))


def inserted(bars: Bars, cut: int, rng: np.random.Generator) -> Bars | None:
    """Bars inserted where none were: in minutes without trades and in breaks."""
    step = bars.bar_minutes
    absent = np.append(np.diff(bars.minute) // step - 1, 0)
    absent[:-1][np.diff(bars.segment) != 0] = 0
    absent[: max(cut - 1, 0)] = 0
    extra = np.clip(absent, 0, _INSERTED)
    if not extra.any():
        return None
    row = np.repeat(np.arange(len(bars)), 1 + extra)
    place = np.arange(len(row)) - np.searchsorted(row, row)
    made, minute = place > 0, bars.minute[row] + step * place
    after = np.minimum(row + 1, len(bars) - 1)
    calendar = np.where(made & (minute >= bars.session_open[after]), after, row)
    close = np.where(made, bars.close[row] * np.exp(rng.normal(0, 0.01, len(row))), bars.close[row])
    own = _rows(bars, row)
    return replace(
        own,
        minute=minute,
        close=close,
        high=np.maximum(own.high, close),
        low=np.minimum(own.low, close),
        **{name: getattr(bars, name)[calendar] for name in ("session", "session_open", "session_close")},
    )


def truncated(bars: Bars, cut: int, rng: np.random.Generator) -> Bars:
    """The series ends."""
    return bars[:cut]


GARBAGE: Final[Mapping[str, Garbage]] = {
    kind.__name__: kind for kind in (wild, tenfold, frozen, voiceless, thinned, holed, inserted, truncated)
}


def _after(bars: Bars, cut: int, opened: Floats, close: Floats, volume: Floats, reach: float = 0.01) -> Bars:
    made = {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + reach),
        "low": np.minimum(opened, close) * (1 - reach),
        "close": close,
        "volume": volume if bars.has_volume else np.full_like(volume, np.nan),
    }
    return _with(bars, cut, made)


def _with(bars: Bars, cut: int, later: Mapping[str, Floats]) -> Bars:
    whole: dict[str, Any] = {
        name: np.concatenate([getattr(bars, name)[:cut], values]) for name, values in later.items()
    }
    return replace(bars, **whole)


def _rows(bars: Bars, rows: Ints | NDArray[Any]) -> Bars:
    taken: dict[str, Any] = {
        name: value[rows] for name, value in vars(bars).items() if isinstance(value, np.ndarray)
    }
    return replace(bars, **taken)
