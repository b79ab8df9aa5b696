"""Where a look into the future would show: at ladder edges, session opens, refits, holes, jumps, and anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from mlfactory.common.bars import Bars, Ints
from mlfactory.labels.params import Params as LabelParams
from mlfactory.labels.stage import split_at_rolls
from mlfactory.mtf.bins import build
from mlfactory.regime.params import Params as RegimeParams
from mlfactory.regime.walk import refits

_EACH: Final = 2  # places of each kind, but of those that are rare
_RARE: Final = 10  # rolls and jumps: as many as the data report lists

ABOUT: Final[Mapping[str, str]] = {
    "random": "anywhere",
    "ladder edge": "the bar that completes a bin of a step, and the one after it",
    "session open": "the first bar of a session",
    "refit": "the bar at which the hidden Markov model is fitted again, and the one after it",
    "hole": "the first bar after a hole",
    "roll": "the first bar of a contract, where labels.rolls states it",
    "jump": "the largest moves between sessions: rolls that nobody states are among them",
}


class Schedule(NamedTuple):
    """What besides the bars decides where a look into the future would show."""

    steps: Sequence[int]
    """of the ladder, minutes"""
    regime: RegimeParams
    """which set the refits"""
    labels: LabelParams
    """which state the rolls"""


@dataclass(frozen=True)
class Cut:
    """The first bar that is corrupted, and why it is there."""

    bar: int
    kind: str


def choose(
    bars: Bars,
    warm_up: int,
    count: int,
    schedule: Schedule,
    rng: np.random.Generator,
) -> list[Cut]:
    """Choose cuts in order of time; a bar that is of several kinds counts as the rarest.

    Args:
        bars: the series.
        warm_up: bars of a segment without a value in some column; cuts lie behind them where they can.
        count: random cuts.
        schedule: of the stages.
        rng: draws the places.
    """
    places = {
        "hole": _some(_holes(bars), rng),
        "refit": _and_next(_some(_refits(bars, schedule.regime), rng)),
        "roll": rng.permutation(_rolls(bars, schedule.labels))[:_RARE],
        "session open": _some(_behind(_opens(bars), bars, warm_up), rng),
        "jump": _jumps(bars),
        "ladder edge": np.fromiter(_edges(bars, warm_up, schedule.steps, rng), np.int64),
        "random": rng.permutation(_behind(np.arange(1, len(bars)), bars, warm_up)),
    }
    taken: dict[int, str] = {}
    for kind, found in places.items():
        fresh = [int(bar) for bar in found if 0 < bar < len(bars) and bar not in taken]
        taken |= dict.fromkeys(fresh[:count] if kind == "random" else fresh, kind)
    return [Cut(bar, taken[bar]) for bar in sorted(taken)]


def _some(found: Ints, rng: np.random.Generator) -> Ints:
    return rng.permutation(found)[:_EACH]


def _and_next(found: Ints) -> Ints:
    return np.concatenate([found, found + 1])


def _behind(found: Ints, bars: Bars, warm_up: int) -> Ints:
    """Prefer bars behind the warm-up of their segment, so that every column has a past to compare."""
    warm = found[bars.row_in_segment[found] > warm_up]
    return warm if len(warm) else found


def _opens(bars: Bars) -> Ints:
    return np.flatnonzero(np.diff(bars.session)) + 1


def _holes(bars: Bars) -> Ints:
    return np.flatnonzero(np.diff(bars.segment)) + 1


def _rolls(bars: Bars, params: LabelParams) -> Ints:
    traded = split_at_rolls(bars, params)
    return np.setdiff1d(_holes(traded), _holes(bars))


def _jumps(bars: Bars) -> Ints:
    opens = _opens(bars)
    size = np.abs(np.log(bars.open[opens] / bars.close[opens - 1]))
    return opens[np.argsort(-size, kind="stable")[:_RARE]]


def _refits(bars: Bars, params: RegimeParams) -> Ints:
    found = [rows.start + refits(bars[rows], params) for rows in bars.segments()]
    return np.concatenate(found).astype(np.int64)


def _edges(bars: Bars, warm_up: int, steps: Sequence[int], rng: np.random.Generator) -> Iterator[int]:
    ladder = build(bars, steps)
    for step in steps:
        completes = np.flatnonzero(np.diff(ladder.column(step)) > 0) + 1
        if step > bars.bar_minutes and len(completes):
            bar = int(rng.choice(_behind(completes, bars, warm_up)))
            yield from (bar, bar + 1)
