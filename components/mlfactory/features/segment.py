"""What a feature function sees: consecutive bars of one segment with their regime and ladder rows."""

import functools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import DAY_MINUTES, Bars

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """What decides which columns exist and how far each looks back."""

    bar_minutes: int = 1
    steps: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 45, 60)
    """ladder steps above the base, in minutes"""
    regime: Mapping[str, int] = field(default_factory=dict)
    """look-back in bars of each regime column"""
    has_volume: bool = True

    @property
    def session_bars(self) -> int:
        """Bars of the longest possible session: a session never exceeds a day."""
        return -(-DAY_MINUTES // self.bar_minutes)


@dataclass(frozen=True)
class StepBars:
    """Closed bars of one ladder step, and which of them is the last one known at each base bar."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    last: Ints
    """shape (base bars,): row in these arrays, -1 where no bar of the step has closed in the segment; ascending"""
    begin: Ints
    """first base bar of each run of equal ``last``, then their number"""
    age: Floats
    """shape (base bars,): minutes of trading since the last bar closed, 0 where there is none"""


@dataclass(frozen=True)
class Segment:
    """Consecutive bars without a hole; arrays have shape (n,)."""

    bars: Bars
    regime: Mapping[str, Floats]
    ladder: Mapping[int, StepBars]
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.bars)

    @property
    def open(self) -> Floats:
        """Opening prices."""
        return self.bars.open

    @property
    def high(self) -> Floats:
        """Highest prices."""
        return self.bars.high

    @property
    def low(self) -> Floats:
        """Lowest prices."""
        return self.bars.low

    @property
    def close(self) -> Floats:
        """Closing prices."""
        return self.bars.close

    @property
    def volume(self) -> Floats:
        """Contracts traded."""
        return self.bars.volume

    def sessions(self) -> list[slice]:
        """Row ranges of the sessions; the first may be cut."""
        session = self.bars.session
        starts = np.flatnonzero(np.diff(session, prepend=session[0] - 1))
        return [slice(int(a), int(b)) for a, b in zip(starts, [*starts[1:], len(self)], strict=True)]


P = ParamSpec("P")
T = TypeVar("T")


def shared(function: Callable[Concatenate[Segment, P], T]) -> Callable[Concatenate[Segment, P], T]:
    """Compute an intermediate once per segment, however many features ask for it."""

    @functools.wraps(function)
    def once(x: Segment, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (function, args)
        if key not in x.memo:
            x.memo[key] = function(x, *args, **kwargs)
        value: T = x.memo[key]
        return value

    return cast(Callable[Concatenate[Segment, P], T], once)
