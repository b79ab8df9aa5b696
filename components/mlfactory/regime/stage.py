"""Classify the market before every bar: volatility, trend, structure and hidden states."""

from pathlib import Path

import numpy as np
import pandas as pd

from mlfactory.common.artifacts import provenance, write_table
from mlfactory.common.bars import Floats, read_bars, timestamps
from mlfactory.common.stage import Summary, main
from mlfactory.regime.compute import check_finite, compute, difference_by_lag, lookbacks
from mlfactory.regime.params import Params


def run(bars: Path, regime: Path, params: Params = Params()) -> Summary:  # noqa: B008  (frozen)
    """Classify the market before every bar; no row uses its own bar or a later one.

    Args:
        bars: the ``bars`` table.
        regime: table to write: ``timestamp`` and a float32 column per regime.
        params: windows, thresholds and the hidden Markov model.
    """
    series = read_bars(bars)
    columns = compute(series, params)
    lookback = lookbacks(params, series.bar_minutes)
    check_finite(series, columns, lookback)
    state = columns["hmm_state"].astype(np.float64)
    facts = provenance(
        "regime",
        "regime",
        {"bars": bars},
        params.model_dump(mode="json"),
        lookback=lookback,
        own_bar=difference_by_lag(_as_seen_with_own_bar(series.segments(), state), state, params.n_states),
    )
    write_table(regime, pd.DataFrame({"timestamp": timestamps(series.minute), **columns}), facts)
    return _summary(state, params)


def _as_seen_with_own_bar(segments: list[slice], state: Floats) -> Floats:
    """Undo the lag: the state of row t + 1 is what row t would have held had it seen its own bar."""
    out = np.full(len(state), np.nan)
    for rows in segments:
        out[rows.start : rows.stop - 1] = state[rows.start + 1 : rows.stop]
    return out


def _summary(state: Floats, params: Params) -> Summary:
    known = state[np.isfinite(state)]
    shares = [float((known == s).mean()) if len(known) else 0.0 for s in range(params.n_states)]
    listed = ", ".join(f"{share:.0%}" for share in shares)
    line = f"{len(state):,} rows, {len(known):,} with a hidden state; by variance {listed}"
    return Summary(line, {f"hmm_share_{s}": share for s, share in enumerate(shares)})


if __name__ == "__main__":
    main(run)
