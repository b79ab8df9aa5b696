"""The regimes against hmmlearn and pandas, per bar, at the stated tolerance."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import make_bars

from mlfactory.common.bars import Floats
from mlfactory.regime import hmm, reference
from mlfactory.regime.compute import compute
from mlfactory.regime.params import Params
from mlfactory.regime.states import HURST_LAGS, hurst
from mlfactory.regime.walk import observations

pytestmark = pytest.mark.slow
SideBySide = Callable[..., tuple[Any, Any]]
WINDOW = 252


def standardised(n: int) -> Floats:
    x = observations(make_bars(n + 20, hole=False), Params())[20:]
    mean, deviation = hmm.moments(x)
    return (x - mean) / deviation


def last_rows(model: hmm.Model, x: Floats, rows: range) -> Floats:
    """What is run in practice: the smoothed posterior of the trailing window, its last row, bar by bar."""
    chain = reference._hmmlearn(model, 1, 0.0)
    return np.array([chain.predict_proba(x[max(row + 1 - WINDOW, 0) : row + 1])[-1] for row in rows])


def test_inference_at_fixed_parameters(side_by_side: SideBySide) -> None:
    x = standardised(100_000)
    model, _ = hmm.fit(x[:5000], hmm.first_guess(x[:5000], 3, 0.95), 30, 0.0)
    rows = range(50_000, 50_500)
    (ours, _), theirs = side_by_side(
        "HMM inference against hmmlearn's per-bar loop, 1e-9",
        partial(hmm.run_filter, model, x),
        partial(last_rows, model, x, rows),
        (len(x), len(rows)),
    )
    np.testing.assert_allclose(ours[rows.start : rows.stop], theirs, atol=1e-9)


def walk(engine: Any, x: Floats, infer: Callable[[hmm.Model, Floats, range], Floats]) -> Floats:
    """Refit every 2,500 bars on 2,500 bars, 30 steps each, and serve the bars between."""
    out = []
    for refit in range(2500, len(x), 2500):
        window = x[refit - 2500 : refit]
        model, _ = engine.fit(window, hmm.first_guess(window, 3, 0.95), 30, -np.inf)
        out.append(infer(model, x, range(refit, min(refit + 2500, len(x)))))
    return np.concatenate(out)


def test_walk_forward_including_fits(side_by_side: SideBySide) -> None:
    x = standardised(10_000)

    def filtered(model: hmm.Model, x: Floats, rows: range) -> Floats:
        return hmm.run_filter(model, x[rows.start - WINDOW : rows.stop])[0][WINDOW:]

    ours, theirs = side_by_side(
        "HMM walk-forward with fits against hmmlearn's loop, 1e-8",
        lambda: walk(hmm, x, filtered),
        lambda: walk(reference, x, last_rows),
        (7500, 7500),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_one_fit(side_by_side: SideBySide) -> None:
    x = standardised(2880)
    fits = [partial(engine.fit, x, hmm.first_guess(x, 3, 0.95), 30, -np.inf) for engine in (hmm, reference)]
    (ours, _), (theirs, _) = side_by_side("Baum-Welch against hmmlearn, 1e-8", *fits, (30 * 2880, 30 * 2880))
    np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-8)


def hurst_of(close: Floats) -> float:
    x = np.log(close)
    spread = [np.mean((x[k:] - x[:-k]) ** 2) for k in HURST_LAGS]
    return float(np.clip(np.polyfit(np.log(HURST_LAGS), np.log(spread), 1)[0] / 2, 0, 1))


def test_hurst_against_rolling_apply(side_by_side: SideBySide) -> None:
    close = make_bars(200_000, hole=False).close
    some = pd.Series(close[:1099])
    ours, theirs = side_by_side(
        "Hurst against rolling.apply, 1e-9",
        lambda: hurst(close, 100),
        lambda: some.rolling(100).apply(hurst_of, raw=True),
        (len(close), 1000),
    )
    np.testing.assert_allclose(ours[99:1099], theirs[99:], atol=1e-9)


def test_all_regimes_of_100_000_bars(benchmark: Any) -> None:
    bars = make_bars(100_000, hole=False)
    compute(bars[:5000], Params())
    benchmark.pedantic(compute, (bars, Params()), rounds=3)
    benchmark.extra_info["bars_per_second"] = len(bars) / benchmark.stats.stats.median
