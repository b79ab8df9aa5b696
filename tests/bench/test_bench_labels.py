"""Triple barriers side by side: the AFML loop, numpy with a shrinking active set, and the kernel; same trades.

The kernel also measures excursions, which the others leave out.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import make_bars

from mlfactory.common.bars import Bars, Floats
from mlfactory.labels.params import Barrier
from mlfactory.labels.triple_barrier import LONG, PROFIT, SHORT, STOP, TIME, triple_barrier, true_range_mean

pytestmark = pytest.mark.slow

COST = 0.5
CASES = {
    "tight": Barrier(take_profit=2, stop_loss=1.5, max_bars=60),
    "wide": Barrier(take_profit=8, stop_loss=6, max_bars=480),
}
every_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def million() -> tuple[Bars, Floats, Floats]:
    bars = make_bars(1_000_000, hole=False)
    return bars, true_range_mean(bars, 14), np.full(len(bars), COST)


def per_event(bars: pd.DataFrame, unit: Floats, barrier: Barrier, events: Any) -> list[tuple[int, int]]:
    """Follow each event's long and short trade over a slice of the frame: (end, touch) of long, then of short."""
    out = []
    for t in events:
        path = bars.iloc[t + 1 : t + 1 + barrier.max_bars]
        entry, reward, risk = (
            path["open"].iloc[0],
            barrier.take_profit * unit[t] + COST,
            barrier.stop_loss * unit[t],
        )
        for won, lost in (
            (path["high"][path["high"] >= entry + reward], path["low"][path["low"] <= entry - risk]),
            (path["low"][path["low"] <= entry - reward], path["high"][path["high"] >= entry + risk]),
        ):
            ends = pd.Series({STOP: lost.index.min(), PROFIT: won.index.min()}).dropna()
            touch = int(ends.idxmin()) if len(ends) else TIME
            out.append((int(ends.min()) if len(ends) else t + barrier.max_bars, touch))
    return out


def shrinking(bars: Bars, unit: Floats, barrier: Barrier, events: Any) -> tuple[Any, Any, Any]:
    """Step through the horizon with numpy, dropping the trades that have ended: end, touch and net, (events, 2)."""
    entry = bars.open[events + 1]
    reward, risk = barrier.take_profit * unit[events] + COST, barrier.stop_loss * unit[events]
    end, touch = np.empty((len(events), 2), np.int64), np.zeros((len(events), 2), np.int8)
    net = np.empty((len(events), 2))
    for side, sign in ((LONG, 1), (SHORT, -1)):
        ahead, behind = (bars.high, bars.low) if side == LONG else (-bars.low, -bars.high)
        profit, stop = sign * entry + reward, sign * entry - risk
        active = np.arange(len(events))
        end[:, side] = events + barrier.max_bars
        for step in range(1, barrier.max_bars + 1):
            bar = events[active] + step
            lost = behind[bar] <= stop[active]
            won = ~lost & (ahead[bar] >= profit[active])
            touch[active[lost], side], touch[active[won], side] = STOP, PROFIT
            done = lost | won
            end[active[done], side] = bar[done]
            active = active[~done]
        gain = np.choose(touch[:, side] + 1, (-risk, sign * (bars.close[end[:, side]] - entry), reward))
        beyond = sign * (bars.open[end[:, side]] - entry)
        gapped = (touch[:, side] != TIME) & ((beyond >= reward) | (beyond <= -risk))
        net[:, side] = (np.where(gapped, beyond, gain) - COST) / entry
    return end, touch, net


@every_case
def test_pandas_per_event(benchmark: Any, million: Any, case: str) -> None:
    bars, unit, cost = million
    frame = pd.DataFrame({name: getattr(bars, name) for name in ("open", "high", "low", "close")})
    events = np.arange(20, 520)
    benchmark.group = f"triple barrier, {case}"
    found = benchmark.pedantic(per_event, (frame, unit, CASES[case], events), rounds=3)
    benchmark.extra_info["events_per_s"] = len(events) / benchmark.stats.stats.median
    kernel = triple_barrier(bars, unit, cost, CASES[case], max_gap=10**9)
    assert [end for end, _ in found] == kernel.side_end[events].ravel().tolist()
    assert [touch for _, touch in found] == kernel.touch[events].ravel().tolist()


@every_case
def test_numpy_shrinking_active_set(benchmark: Any, million: Any, case: str) -> None:
    bars, unit, cost = million
    events = np.arange(20, len(bars) - CASES[case].max_bars - 1)
    benchmark.group = f"triple barrier, {case}"
    end, touch, net = benchmark.pedantic(shrinking, (bars, unit, CASES[case], events), rounds=1)
    benchmark.extra_info["events_per_s"] = len(events) / benchmark.stats.stats.median
    kernel = triple_barrier(bars, unit, cost, CASES[case], max_gap=10**9)
    np.testing.assert_array_equal(end, kernel.side_end[events])
    np.testing.assert_array_equal(touch, kernel.touch[events])
    np.testing.assert_allclose(net, kernel.net[events], rtol=1e-9, atol=1e-12)


@every_case
def test_kernel(benchmark: Any, million: Any, case: str) -> None:
    bars, unit, cost = million
    benchmark.group = f"triple barrier, {case}"
    benchmark.pedantic(
        triple_barrier, (bars, unit, cost, CASES[case]), {"max_gap": 10**9}, rounds=5, warmup_rounds=1
    )
    benchmark.extra_info["events_per_s"] = len(bars) / benchmark.stats.stats.median
