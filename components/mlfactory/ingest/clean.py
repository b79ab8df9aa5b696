"""Bars from rows: defects set aside with a reason each, the session calendar and the segments added."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlfactory.common.bars import PRICES, Bars, Instrument, Ints, timestamps
from mlfactory.common.errors import InputError
from mlfactory.ingest.checks import (
    CODE,
    KEPT,
    REASONS,
    Codes,
    Grid,
    detect_grid,
    duplicate_reasons,
    reason_counts,
    row_reasons,
)
from mlfactory.ingest.params import Params
from mlfactory.ingest.sessions import Schedule, schedule, segment_numbers
from mlfactory.ingest.source import NO_TIME, Rows

_MINUTE = 60_000_000  # microseconds


@dataclass(frozen=True)
class Clean:
    """What became of a source's rows: each is a bar, is set aside, or lies before the last rows asked for."""

    bars: Bars
    rejected: Rows
    reason: Codes
    """of each rejected row, shape (rejected,)"""
    schedule: Schedule
    missing: Ints
    """open-market minutes missing before each bar"""
    rows_in: int
    skipped: int
    """rows before the ``last`` ones asked for"""
    backward_steps: int
    """rows of the source stamped earlier than the row before them; the bars are sorted by time"""


def clean(rows: Rows, instrument: Instrument, params: Params) -> Clean:
    """Judge every row and build the bars from those that keep all rules.

    Rows are sorted by stamp first, so a source out of order loses nothing; ``backward_steps`` counts its turns.

    Raises:
        InputError: no bar remains, or more rows break a rule than ``params`` allow.
    """
    ordered = rows.take(np.argsort(rows.microsecond, kind="stable"))
    kept = ordered.take(np.arange(len(rows))[-params.last :]) if params.last else ordered
    code = row_reasons(kept)
    _check_defects(code, params)
    grid = detect_grid(kept.microsecond[code == KEPT], params.bar_minutes)
    _mark(code, ~grid.contains(kept.microsecond), "off_bar_grid")
    minute = _open_minute(kept, grid, params)
    usable = minute[code == KEPT]
    if not len(usable):
        raise InputError(f"no usable bar remains of {len(rows)} rows: {_counts(code)}")
    calendar = schedule(instrument, int(usable.min()), int(usable.max()))
    _mark(code, ~calendar.is_open(minute), "outside_session")
    good = np.flatnonzero(code == KEPT)
    code[good] = duplicate_reasons(kept.take(good))
    _check_shares(code, instrument, params)
    accepted = code == KEPT
    bars, missing = _bars(kept.take(accepted), minute[accepted], calendar, grid, (instrument, params))
    return Clean(
        bars=bars,
        rejected=kept.take(~accepted),
        reason=code[~accepted],
        schedule=calendar,
        missing=missing,
        rows_in=len(rows),
        skipped=len(rows) - len(kept),
        backward_steps=_backward_steps(rows.microsecond),
    )


def _mark(code: Codes, broken: NDArray[np.bool_], reason: str) -> None:
    code[broken & (code == KEPT)] = CODE[reason]


def _open_minute(rows: Rows, grid: Grid, params: Params) -> Ints:
    minute = np.where(rows.microsecond == NO_TIME, 0, rows.microsecond) // _MINUTE
    # a stamp at the end of a bar lies one bar length after its open
    return minute - grid.bar_minutes if params.stamp == "close" else minute


def _backward_steps(microsecond: Ints) -> int:
    stamp = microsecond[microsecond != NO_TIME]
    return int((np.diff(stamp) < 0).sum())


def _counts(code: Codes) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reason_counts(code).items())


def _check_defects(code: Codes, params: Params) -> None:
    defective = (code != KEPT) & (code != CODE["outside_session"])
    if not len(code) or defective.mean() > params.max_rejected or defective.all():
        raise InputError(
            f"{defective.sum():,} of {len(code):,} rows break a rule ({_counts(code)}), "
            f"more than ingest.max_rejected={params.max_rejected:g} allows"
        )


def _check_shares(code: Codes, instrument: Instrument, params: Params) -> None:
    _check_defects(code, params)
    outside = code == CODE["outside_session"]
    if outside.mean() > params.max_outside or not (code == KEPT).any():
        raise InputError(
            f"{outside.sum():,} of {len(code):,} rows lie outside the sessions of {instrument.symbol} "
            f"({instrument.calendar}), more than ingest.max_outside={params.max_outside:g} allows: "
            f"is the symbol right, and ingest.timezone ({params.timezone})?"
        )


def _bars(
    rows: Rows, minute: Ints, calendar: Schedule, grid: Grid, context: tuple[Instrument, Params]
) -> tuple[Bars, Ints]:
    instrument, params = context
    segment, missing = segment_numbers(calendar, minute, grid.bar_minutes, params.max_gap_minutes)
    number = calendar.latest(minute)
    bars = Bars(
        minute=minute,
        **{name: rows.values[name] for name in (*PRICES, "volume")},
        session=calendar.date[number],
        session_open=calendar.open[number],
        session_close=calendar.close[number],
        segment=segment,
        bar_minutes=grid.bar_minutes,
        instrument=instrument,
    )
    return bars, missing


def quarantine_table(result: Clean) -> pd.DataFrame:
    """List the rows set aside, in source order: position, stamp as the source states it (UTC), values and reason."""
    order = np.argsort(result.rejected.row, kind="stable")
    rejected = result.rejected.take(order)
    unknown = rejected.microsecond == NO_TIME
    stamp = pd.DatetimeIndex(np.where(unknown, 0, rejected.microsecond).astype("datetime64[us]"), tz="UTC")
    reason = [REASONS[code] for code in result.reason[order]]
    return pd.DataFrame(
        {
            "row": rejected.row,
            "timestamp": pd.Series(stamp).mask(unknown),
            **{name: rejected.values[name] for name in (*PRICES, "volume")},
            "reason": pd.array(reason, dtype="string"),
        }
    )


def describe(result: Clean) -> dict[str, Any]:
    """State what a reader must know of the series before trusting it: counts, gaps, oddities, advice; JSON values."""
    bars, reasons = result.bars, reason_counts(result.reason)
    return {
        "instrument": bars.instrument.model_dump(),
        "bar_minutes": bars.bar_minutes,
        "rows_in": result.rows_in,
        "bars": len(bars),
        "rejected": reasons,
        "skipped_before_last": result.skipped,
        "backward_steps": result.backward_steps,
        "first": str(timestamps(bars.minute[:1])[0]),
        "last": str(timestamps(bars.minute[-1:])[0]),
        "sessions": len(np.unique(bars.session)),
        "segments": len(bars.segments()),
        "has_volume": bars.has_volume,
        "zero_volume_bars": int((bars.volume == 0).sum()),
        "flat_bars": int((bars.high == bars.low).sum()),
        "off_tick_bars": int(_off_tick(bars).sum()),
        "gaps": _gaps(result),
        "outside_session_dates": _outside_dates(result),
        "largest_jumps": _jumps(bars),
        "advice": _advice(result),
    }


def _off_tick(bars: Bars) -> NDArray[np.bool_]:
    ticks = bars.close / bars.instrument.tick_size
    return np.abs(ticks - np.round(ticks)) > 1e-6 * np.maximum(1.0, np.abs(ticks))


def _gaps(result: Clean) -> dict[str, Any]:
    bars, missing = result.bars, result.missing
    longest = np.argsort(-missing, kind="stable")[:10]
    bridged = (missing > 0) & (np.diff(bars.segment, prepend=bars.segment[0]) == 0)
    return {
        "bridged": int(bridged.sum()),
        "bridged_minutes": int(missing[bridged].sum()),
        "longest": [
            {"after": str(timestamps(bars.minute[[row - 1]])[0]), "open_minutes_missing": int(missing[row])}
            for row in longest
            if missing[row] > 0
        ],
    }


def _outside_dates(result: Clean) -> dict[str, int]:
    """The ten UTC dates with most rows outside the sessions."""
    stamp = result.rejected.microsecond[result.reason == CODE["outside_session"]]
    day, count = np.unique(stamp // (1440 * _MINUTE), return_counts=True)
    most = np.argsort(-count, kind="stable")[:10]
    return {str(np.datetime64(int(day[i]), "D")): int(count[i]) for i in most}


def _jumps(bars: Bars) -> list[dict[str, Any]]:
    """The ten largest moves from a close to the next open: contract rolls of an unadjusted series show here."""
    if len(bars) < 2:
        return []
    jump = np.log(bars.open[1:] / bars.close[:-1])
    most = np.argsort(-np.abs(jump), kind="stable")[:10]
    return [
        {"at": str(timestamps(bars.minute[[i + 1]])[0]), "log_return": round(float(jump[i]), 6)} for i in most
    ]


def _advice(result: Clean) -> list[str]:
    bars = result.bars
    first = np.flatnonzero(np.diff(bars.session, prepend=bars.session[0] - 1))
    late = int(np.median(bars.minute[first] - bars.session_open[first]))
    torn = len(bars.segments()) > len(first) / 2 > 1
    off_tick = float(_off_tick(bars).mean())
    kept, tick = bars.instrument, bars.instrument.tick_size
    found = {
        "rows are stamped at session closes and none at session opens, as if by the end of each bar: consider "
        "ingest.stamp=close": _stamped_by_close(result),
        f"most days hold a hole, but {kept.symbol} trades around the clock: state the symbol of the contract": (
            torn and kept.continuous
        ),
        f"sessions begin a median of {late} minutes after {kept.calendar} opens, and most start a segment: consider "
        "ingest.instrument.open_time or ingest.max_gap_minutes": torn and late > 0 and not kept.continuous,
        f"{off_tick:.1%} of closes are off the tick of {tick:g}: an adjusted series or another instrument": (
            off_tick > 0.5
        ),
        "the source has no volume: columns that need it are switched off": not bars.has_volume,
    }
    return [text for text, applies in found.items() if applies]


def _stamped_by_close(result: Clean) -> bool:
    sessions = len(np.unique(result.bars.session))
    outside = result.rejected.microsecond[result.reason == CODE["outside_session"]] // _MINUTE
    at_close = int(np.isin(outside, result.schedule.close).sum())
    at_open = int(np.isin(result.bars.minute, result.schedule.open).sum())
    return at_close > sessions / 2 and at_open < sessions / 10
