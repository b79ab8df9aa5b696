"""Windows of several timeframes at once: the last closed bars of each, cut from one flat table of log prices.

Prices become relative inside the window, so the table needs no reference price: it holds plain logarithms. A
reference taken from the data would depend on where the file starts. In float32 the logarithm of a price between
2,981 and 8.8 million is exact to half a millionth, a hundredth of a tick of the equity index futures.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError
from mlfactory.common.raw_bars import RawBars
from mlfactory.common.windows import row_major, take, window_view

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]

N_PRICES: Final = 4
"""open, high, low, close come first among the channels"""
CLOSE: Final = 3
"""channel of the close"""
VOLUME_BARS: Final = 20
"""bars, its own included, whose mean a bar's volume is compared with"""
MIN_SCALE: Final = 1e-6
"""unit of a window whose prices do not move; below it, float32 logarithms are rounding"""


@dataclass(frozen=True)
class MultiResolutionDataset:
    """Windows of ``steps`` bars in each of several timeframes, each timeframe with its own last closed bars."""

    table: Floats32
    """shape (bars of all timeframes one below the other, channels), row-major: logarithms of open, high, low and
    close, then, where there is a fifth channel, relative volume"""
    ends: Ints32
    """shape (windows, timeframes); row in ``table`` of the last closed bar of each timeframe"""
    scale: Floats32
    """shape (windows, timeframes), above 0; unit of the relative log prices"""
    steps: int
    timeframes: tuple[int, ...]
    """minutes, ascending"""

    def __post_init__(self) -> None:
        row_major(self.table)
        shape = (len(self.ends), len(self.timeframes))
        if self.ends.shape != shape or self.scale.shape != shape:
            raise InputError(
                f"ends {self.ends.shape} and scale {self.scale.shape} of windows must have one row per window and "
                f"one column for each of {len(self.timeframes)} timeframes"
            )
        if len(self.ends) and not (self.steps - 1 <= self.ends.min() and self.ends.max() < len(self.table)):
            raise InputError(
                f"windows of {self.steps} steps end at rows {self.ends.min()} to {self.ends.max()}; "
                f"the table has {len(self.table)} rows"
            )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def flat(self) -> Floats32:
        """Overlapping view of the table, shape (bars - steps + 1, steps * channels); see ``window_view``."""
        return window_view(self.table, self.steps)

    def gather(self, which: Ints) -> Floats32:
        """Copy some windows, their prices relative to the window's last close in units of ``scale``.

        Args:
            which: shape (b,); numbers of windows, 0 to ``len(self) - 1``.

        Returns:
            shape (b, timeframes, steps, channels)
        """
        batch = take(self.flat, self.ends[which] - (self.steps - 1))
        batch = batch.reshape(len(which), len(self.timeframes), self.steps, self.table.shape[1])
        prices = batch[..., :N_PRICES]
        prices -= batch[..., -1:, CLOSE : CLOSE + 1].copy()
        prices /= self.scale[which][..., None, None]
        return batch


@dataclass(frozen=True)
class BarWindows:
    """The windows of every matrix row, from which those of a fold are chosen without a copy of the bars."""

    table: Floats32
    """as in ``MultiResolutionDataset``"""
    ends: Ints32
    """shape (rows, timeframes); meaningless where the row is not ``full``"""
    unit: Floats32
    """shape (bars,); unit of a window that ends at the bar"""
    full: Bools
    """shape (rows,); rows with enough closed bars of their own segment in every timeframe"""
    first_bar: Ints
    """shape (rows,); position in ``bars`` of the first bar that goes into the row's windows; meaningless where
    the row is not ``full``"""
    steps: int
    timeframes: tuple[int, ...]
    channels: tuple[str, ...]

    @classmethod
    def of(cls, raw: RawBars, steps: int) -> "BarWindows":
        """Make the flat table of raw bars, and find each row's windows in it.

        Raises:
            InputError: a price is not a positive number.
        """
        reach = steps + (VOLUME_BARS - 1 if len(raw.channels) > N_PRICES else 0)
        bars = [np.asarray(raw.tables[minutes], np.float64) for minutes in raw.timeframes]
        for minutes, values in zip(raw.timeframes, bars, strict=True):
            _check_prices(values, minutes, raw.channels)
        offset = np.cumsum([0, *(len(values) for values in bars)])[:-1]
        earliest = [
            first[np.maximum(raw.end[:, k] - (reach - 1), 0)] if len(first) else np.zeros(len(raw.end), int)
            for k, first in enumerate(raw.first[minutes] for minutes in raw.timeframes)
        ]
        return cls(
            table=np.concatenate([_channels(values) for values in bars]),
            ends=(raw.end + offset).astype(np.int32),
            unit=np.concatenate([true_range_unit(values, steps) for values in bars]).astype(np.float32),
            full=raw.full(reach),
            first_bar=np.min(earliest, axis=0),
            steps=steps,
            timeframes=raw.timeframes,
            channels=raw.channels,
        )

    def __len__(self) -> int:
        return len(self.ends)

    def at(self, rows: Ints) -> MultiResolutionDataset:
        """Give the windows of some rows, shape (m,), all of them ``full``.

        Raises:
            InputError: a row has no full window.
        """
        if not self.full[rows].all():
            row = int(rows[np.argmin(self.full[rows])])
            raise InputError(f"row {row} has fewer than {self.steps} closed bars in some timeframe")
        ends = self.ends[rows]
        return MultiResolutionDataset(self.table, ends, self.unit[ends], self.steps, self.timeframes)


def true_range_unit(bars: Floats, steps: int) -> Floats:
    """Root mean square of the log true ranges in the window that ends at each bar, at least ``MIN_SCALE``.

    The true range (Wilder 1978) of a bar reaches from its high and the close before to its low and the close
    before; the window's first bar has none before it and counts with its own range. A price's distance to the last
    close is thereby at most ``steps`` units, and exactly 0 where no price moves.

    Args:
        bars: shape (bars, channels); open, high, low, close first.
        steps: bars of the window.

    Returns:
        shape (bars,); meaningless at the first ``steps - 1`` bars of a segment
    """
    high, low, close = (np.log(bars[:, channel]) for channel in (1, 2, CLOSE))
    before = np.r_[close[:1], close[:-1]]
    own = (high - low) ** 2
    whole = (np.maximum(high, before) - np.minimum(low, before)) ** 2
    total = trailing_sum(whole, steps - 1) if steps > 1 else np.zeros(len(bars))
    total[steps - 1 :] += own[: len(own) - (steps - 1)]
    return np.asarray(np.maximum(np.sqrt(total / steps), MIN_SCALE))


def relative_volume(volume: Floats) -> Floats:
    """Log of one plus volume over its mean of the last ``VOLUME_BARS`` bars, less log 2.

    It is 0 at the mean, and also where the series has no volume.

    Args:
        volume: shape (bars,); NaN where it is not known.

    Returns:
        shape (bars,); meaningless at the first ``VOLUME_BARS - 1`` bars of a segment
    """
    known = np.nan_to_num(volume)
    mean = trailing_sum(known, VOLUME_BARS) / VOLUME_BARS
    ratio = np.divide(known, mean, out=np.ones(len(known)), where=mean > 0)
    return np.asarray(np.log1p(ratio) - np.log(2.0))


def trailing_sum(values: Floats, bars: int) -> Floats:
    """Sum the last ``bars`` values at each position, newest first, so that a sum never depends on older ones."""
    total = values.copy()
    for lag in range(1, min(bars, len(values))):
        total[lag:] += values[:-lag]
    return total


def _channels(bars: Floats) -> Floats32:
    table = np.empty(bars.shape, np.float32)
    table[:, :N_PRICES] = np.log(bars[:, :N_PRICES])
    if bars.shape[1] > N_PRICES:
        table[:, N_PRICES] = relative_volume(bars[:, N_PRICES])
    return table


def _check_prices(bars: Floats, minutes: int, channels: tuple[str, ...]) -> None:
    prices = bars[:, :N_PRICES]
    bad = ~(np.isfinite(prices) & (prices > 0))
    if bad.any():
        row, channel = (int(where[0]) for where in np.nonzero(bad))
        raise InputError(
            f"{channels[channel]} of bar {row} of the {minutes}-minute timeframe is {prices[row, channel]}: "
            f"expected a price above 0 ({int(bad.sum())} such values)"
        )
