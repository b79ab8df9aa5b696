"""Classify the market before every bar: volatility, trend, structure and hidden states."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mlfactory.common.artifacts import new_file, provenance, write_json, write_table
from mlfactory.common.bars import read_bars, timestamps
from mlfactory.common.stage import Summary, main
from mlfactory.regime.comparison import compare, markdown
from mlfactory.regime.compute import check_finite, compute, lookbacks
from mlfactory.regime.params import Params
from mlfactory.regime.walk import unbounded


def run(bars: Path, regime: Path, regime_report: Path, states: Path, params: Params = Params()) -> Summary:  # noqa: B008  (frozen)
    """Classify the market before every bar; no row uses its own bar or a later one.

    Args:
        bars: the ``bars`` table.
        regime: table to write: ``timestamp`` and a float32 column per regime.
        regime_report: JSON document to write: how often each state is held, and how often it would be another
            one had the row seen its own bar.
        states: the same as Markdown.
        params: windows, thresholds and the hidden Markov model.
    """
    series = read_bars(bars)
    columns = compute(series, params)
    lookback = lookbacks(params, series.bar_minutes)
    check_finite(series, columns, lookback)
    inputs, given = {"bars": bars}, params.model_dump(mode="json")
    declared = {"lookback": lookback, "unbounded_lookback": unbounded(params)}
    facts = provenance("regime", "regime", inputs, given, **declared)
    write_table(regime, pd.DataFrame({"timestamp": timestamps(series.minute), **columns}), facts)
    compared = compare(series.segments(), columns, params.n_states)
    write_json(regime_report, provenance("regime_report", "regime", inputs, given, columns=compared))
    with new_file(states) as file:
        file.write_text(markdown(compared), encoding="utf-8")
    return _summary(len(series), compared["hmm_state"], params)


def _summary(rows: int, hidden: Mapping[str, Any], params: Params) -> Summary:
    listed = ", ".join(f"{share:.0%}" for share in hidden["excluded"])
    line = f"{rows:,} rows, {hidden['rows']:,} compared; hidden states by variance {listed}"
    line += f"; {hidden['differs']:.1%} differ with the own bar"
    if params.warm_start:
        line += "; fits start warm, so the look-back of hidden states is unbounded"
    shares = {f"hmm_share_{s}": share for s, share in enumerate(hidden["excluded"])}
    return Summary(line, {**shares, "hmm_differs": hidden["differs"]})


if __name__ == "__main__":
    main(run)
