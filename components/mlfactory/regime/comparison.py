"""How many rows would hold another regime had they seen their own bar: what lagging once leaves out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from mlfactory.common.bars import Floats
from mlfactory.regime.compute import LAG, Columns

FIRST: Final = {"regime_volatility": 0, "regime_trend": -1, "regime_structure": 0, "hmm_state": 0}
"""Columns that hold a state, and the value of the first one."""
_NAMES: Final = {
    "regime_volatility": ("low", "normal", "high"),
    "regime_trend": ("down", "sideways", "up"),
    "regime_structure": ("reverting", "random", "persistent"),
}


def compare(segments: Sequence[slice], columns: Columns, n_states: int) -> dict[str, dict[str, Any]]:
    """Compare, per column that holds a state, what rows are served with what their own bar would make of it.

    Args:
        segments: row ranges without a hole.
        columns: lagged regimes, arrays of shape (n,), NaN during warm-up.
        n_states: of the hidden Markov model; it numbers them by variance, calmest first.

    Returns:
        Per column: names of the states, rows compared, the share of each state with the row's own bar
        ``included`` and ``excluded``, the share of rows that ``differs``, and the mean stay in each served
        state, in bars.
    """
    hidden = tuple(str(state) for state in range(n_states))
    out = {}
    for name, first in FIRST.items():
        served = columns[name].astype(np.float64) - first
        own = with_own_bar(segments, served)
        out[name] = difference(own, served, _NAMES.get(name, hidden))
    return out


def with_own_bar(segments: Sequence[slice], served: Floats) -> Floats:
    """Undo the lag: the state served to row t + 1 is what row t holds once it has seen its own bar; NaN at the end."""
    out = np.full(len(served), np.nan)
    for rows in segments:
        out[rows.start : rows.stop - LAG] = served[rows.start + LAG : rows.stop]
    return out


def difference(included: Floats, excluded: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Compare states, numbered from 0, row by row; rows where one of them is NaN are left out."""
    both = np.isfinite(included) & np.isfinite(excluded)
    a, b = included[both].astype(int), excluded[both].astype(int)
    rows, k = len(a), len(names)
    entered = np.bincount(b[np.flatnonzero(np.diff(b, prepend=-1))], minlength=k)
    held = np.bincount(b, minlength=k)
    return {
        "states": list(names),
        "rows": rows,
        "included": (np.bincount(a, minlength=k) / max(rows, 1)).tolist(),
        "excluded": (held / max(rows, 1)).tolist(),
        "differs": float((a != b).sum() / max(rows, 1)),
        "mean_stay_bars": (held / np.maximum(entered, 1)).tolist(),
    }


def markdown(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the comparison as a table for the KFP user interface."""
    lines = [
        "| column | state | own bar included | own bar excluded, as served | mean stay, bars |",
        "|---|---|---:|---:|---:|",
    ]
    for name, told in compared.items():
        values = zip(
            *(told[key] for key in ("states", "included", "excluded", "mean_stay_bars")), strict=True
        )
        lines += [f"| {name} | {state} | {a:.2%} | {b:.2%} | {stay:.1f} |" for state, a, b, stay in values]
    lines += ["", "Rows that would hold another state had they seen their own bar:", ""]
    lines += [f"- {name}: {told['differs']:.2%} of {told['rows']:,}" for name, told in compared.items()]
    return "\n".join(lines) + "\n"
