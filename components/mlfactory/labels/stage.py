"""From bars to labels: what a long and a short trade of each bar would have earned, and when they end."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlfactory.common.artifacts import provenance, write_table
from mlfactory.common.bars import Bars, Floats, read_bars, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.stage import Summary, main
from mlfactory.labels.costs import round_trip
from mlfactory.labels.params import Barrier, Params
from mlfactory.labels.triple_barrier import SIDES, Outcome, sign_timeouts, triple_barrier, true_range_mean


def run(bars: Path, labels: Path, params: Params = Params()) -> Summary:  # noqa: B008  (frozen)
    """Label every bar by the first barrier its price touches.

    Args:
        bars: the ``bars`` artifact.
        labels: table to write: ``row``, ``segment``, ``session``, ``log_return`` (from the close before, 0 where
            no trade may straddle the two), and per horizon those of ``columns``.
        params: horizons, barriers and rules of the trades.

    Raises:
        InputError: a horizon without barriers or longer than the data, or no row with a known outcome.
    """
    data = read_bars(bars)
    chosen = barriers(params, data)
    check_rolls(data, params)
    outcomes = follow(data, chosen, params)
    for h, found in outcomes.items():
        if not found.valid.any():
            raise InputError(f"no bar of {len(data)} has a known outcome for horizon {h}: give more bars")
    frame = pd.DataFrame(
        {
            "timestamp": timestamps(data.minute),
            "row": np.arange(len(data)),
            "segment": data.segment,
            "session": data.session,
            "log_return": log_returns(split_at_rolls(data, params)),
            **{name: value for h, found in outcomes.items() for name, value in columns(h, found).items()},
        }
    )
    facts = provenance(
        "labels",
        "labels",
        {"bars": bars},
        params.model_dump(mode="json"),
        horizons=list(chosen),
        barriers={str(h): barrier.model_dump() for h, barrier in chosen.items()},
        cost=data.instrument.round_trip_cost,
        instrument=data.instrument.model_dump(),
        bar_minutes=data.bar_minutes,
    )
    write_table(labels, frame, facts)
    return summary(len(data), outcomes)


def barriers(params: Params, bars: Bars) -> dict[int, Barrier]:
    """Choose the barriers of each horizon, shortest first.

    Raises:
        InputError: a horizon is unknown, named twice, or its time limit is longer than the data.
    """
    if len(set(params.horizons)) < len(params.horizons):
        raise InputError(f"labels.horizons names a horizon twice: {list(params.horizons)}")
    if unused := sorted(set(params.barriers) - {str(h) for h in params.horizons}):
        raise InputError(
            f"labels.barriers has {', '.join(unused)}; labels.horizons holds {list(params.horizons)}"
        )
    contract = bars.instrument.root or bars.instrument.symbol
    chosen = {h: params.barrier(h, contract) for h in sorted(params.horizons)}
    for h, barrier in chosen.items():
        if (needed := barrier.max_bars + params.atr_bars + 1) > len(bars):
            raise InputError(
                f"horizon {h} needs {needed} bars (time limit {barrier.max_bars}, ATR {params.atr_bars}); "
                f"the data has {len(bars)}"
            )
    return chosen


def follow(bars: Bars, chosen: Mapping[int, Barrier], params: Params) -> dict[int, Outcome]:
    """Follow the trades of every horizon."""
    traded = split_at_rolls(bars, params)
    unit = true_range_mean(traded, params.atr_bars)
    cost = round_trip(traded, unit, params)
    return {h: outcome(traded, unit, cost, barrier, params) for h, barrier in chosen.items()}


def check_rolls(bars: Bars, params: Params) -> None:
    """Accept rolls with bars on both sides.

    Raises:
        InputError: a roll lies outside the series.
    """
    for roll in params.rolls:
        if not bars.minute[0] < roll.timestamp() / 60 <= bars.minute[-1]:
            start, last = timestamps(bars.minute[[0, -1]])
            raise InputError(
                f"labels.rolls holds {roll:%Y-%m-%d %H:%M%z}, which has no bar before it or none from it on: the "
                f"bars run from {start:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
            )


def split_at_rolls(bars: Bars, params: Params) -> Bars:
    """Begin a segment at the first bar of each contract, for trades, their unit and returns alone."""
    rolls = np.sort(np.array([roll.timestamp() / 60 for roll in params.rolls]))
    return replace(bars, segment=bars.segment + np.searchsorted(rolls, bars.minute, side="right"))


def log_returns(bars: Bars) -> Floats:
    """From the close before to each bar's close, shape (n,); 0 at the first bar of each segment."""
    move = np.diff(np.log(bars.close), prepend=np.log(bars.close[:1]))
    return np.where(bars.row_in_segment == 0, 0.0, move)


def outcome(bars: Bars, unit: Floats, cost: Floats, barrier: Barrier, params: Params) -> Outcome:
    """Follow the trades of one horizon under the rules of ``params``."""
    found = triple_barrier(
        bars,
        unit,
        cost,
        barrier,
        policy=params.ambiguous,
        max_gap=params.max_gap,
        at_close=params.entry == "close",
    )
    return sign_timeouts(found) if params.timeout_sign else found


def columns(horizon: int, found: Outcome) -> dict[str, Any]:
    """Name the columns of one horizon, for example ``label_h20`` and ``long_net_h20``."""
    out: dict[str, Any] = {"label": found.label, "valid": found.valid, "end": found.end}
    out["open_until"] = found.open_until
    for k, side in enumerate(SIDES):
        out[f"{side}_end"] = found.side_end[:, k]
        out[f"{side}_touch"] = found.touch[:, k]
        for name in ("fill", "net", "mae", "mfe"):
            out[f"{side}_{name}"] = getattr(found, name)[:, k]
    return {f"{name}_h{horizon}": value for name, value in out.items()}


def summary(n: int, outcomes: dict[int, Outcome]) -> Summary:
    """State the class balance of each horizon among the rows with a known outcome."""
    metrics: dict[str, float] = {"bars": n}
    lines = []
    for h, found in outcomes.items():
        known = found.label[found.valid]
        share = {name: float((known == k).mean()) for name, k in (("long", 1), ("flat", 0), ("short", -1))}
        metrics |= {f"{name}_h{h}": value for name, value in share.items()} | {f"valid_h{h}": len(known)}
        text = ", ".join(f"{value:.0%} {name}" for name, value in share.items())
        lines.append(f"h{h}: {len(known):,} valid, {text}")
    return Summary(f"{n:,} bars; " + "; ".join(lines), metrics)


if __name__ == "__main__":
    main(run)
