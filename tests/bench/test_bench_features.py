"""Features against pandas, in one process and in turn, and the stage as a cold process against the computation."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tests.bench.conftest import LINES
from tests.conftest import make_bars

from mlfactory.common.artifacts import provenance, write_table
from mlfactory.common.bars import Bars, timestamps, write_bars
from mlfactory.common.ladder import Ladder, write_ladder
from mlfactory.common.machine import cores
from mlfactory.features import windows as w
from mlfactory.features.compute import BLOCK, compute, compute_parts, plan, setting_of
from mlfactory.features.params import Params
from mlfactory.features.registry import load
from mlfactory.features.stage import PART
from mlfactory.mtf.bins import build

pytestmark = pytest.mark.slow

ROWS = 1_000_000
ROUNDS = 5
AVERAGES = (5, 9, 12, 20, 26, 50, 100, 200)
RANGES = (5, 10, 20, 50, 100, 200)
WILDER = (5, 7, 14, 21, 28)
CHANNELS = (20, 60)
STEPS = (1, 5, 10, 15, 20, 25, 30, 45, 60)
Columns = dict[str, np.ndarray]
STAGE = """
import runpy
try:
    runpy.run_module("mlfactory.features.stage", run_name="__main__")
finally:
    print(next(line.strip() for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def prices() -> dict[str, np.ndarray]:
    bars = make_bars(ROWS, hole=False)
    return {name: getattr(bars, name) for name in ("high", "low", "close")}


def by_pandas(prices: dict[str, np.ndarray]) -> Columns:
    """Sixty indicator columns with rolling and ewm."""
    high, low, close = (pd.Series(prices[name]) for name in ("high", "low", "close"))
    out = {}
    for k in AVERAGES:
        out[f"sma_{k}"] = close.rolling(k).mean()
        out[f"ema_{k}"] = close.ewm(span=k, adjust=False).mean()
        out[f"std_{k}"] = close.rolling(k).std()
    for k in RANGES:
        out[f"min_{k}"], out[f"max_{k}"] = low.rolling(k).min(), high.rolling(k).max()
        out[f"roc_{k}"] = close.pct_change(k)
    change, before = close.diff(), close.shift()
    true = np.maximum(high, before) - np.minimum(low, before)
    for k in WILDER:
        rise = change.clip(lower=0).ewm(alpha=1 / k, adjust=False).mean()
        fall = (-change).clip(lower=0).ewm(alpha=1 / k, adjust=False).mean()
        out[f"rsi_{k}"] = 100 * rise / (rise + fall)
        out[f"atr_{k}"] = true.ewm(alpha=1 / k, adjust=False).mean()
    for k in CHANNELS:
        # the mean deviation of CCI needs apply, a hundred times slower: the deviation stands in, which flatters pandas
        out[f"cci_{k}"] = (close - close.rolling(k).mean()) / close.rolling(k).std()
    line = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    out["macd"], out["signal"] = line, line.ewm(span=9, adjust=False).mean()
    middle, reach = close.rolling(20).mean(), 2 * close.rolling(20).std()
    out["upper"], out["lower"] = middle + reach, middle - reach
    out["width"], out["position"] = 2 * reach / middle, (close - middle) / reach
    return {name: column.to_numpy(dtype=float) for name, column in out.items()}


def ours(prices: dict[str, np.ndarray]) -> Columns:
    """The same sixty columns with the windows of the features, block by block."""
    halo = w.ema_memory(max(AVERAGES)) + 1
    table = np.empty((60, ROWS), np.float32)  # as the features are stored
    names: list[str] = []
    for start in range(0, ROWS, BLOCK):
        first, stop = max(start - halo, 0), min(start + BLOCK, ROWS)
        part = {name: values[first:stop] for name, values in prices.items()}
        names = []
        for name, column in _block(part):
            table[len(names), start:stop] = column[start - first :]
            names.append(name)
    return dict(zip(names, table, strict=True))


def _block(prices: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    high, low, close = prices["high"], prices["low"], prices["close"]
    spread = w.spread(close, *AVERAGES, 60)
    change, before = w.difference(close), w.lag(close, 1)
    gap = {k: w.ema_gap(close, k, change) for k in AVERAGES}
    for i, k in enumerate(AVERAGES):
        yield f"sma_{k}", spread.mean[i]
        yield f"ema_{k}", close - gap[k]
        yield f"std_{k}", spread.std[i]
    for k, top, bottom in zip(RANGES, w.maxima(high, *RANGES), w.minima(low, *RANGES), strict=True):
        yield f"max_{k}", top
        yield f"min_{k}", bottom
        yield f"roc_{k}", close / w.lag(close, k) - 1
    true = np.maximum(high, before) - np.minimum(low, before)
    rise, size = np.maximum(100 * change, 0.0), np.abs(change)
    for k in WILDER:
        yield f"rsi_{k}", w.ratio(w.decayed_mean(rise, 1 / k), w.decayed_mean(size, 1 / k), 50.0)
        yield f"atr_{k}", w.decayed_mean(true, 1 / k)
    for k, i in zip(CHANNELS, (AVERAGES.index(20), len(AVERAGES)), strict=True):
        yield f"cci_{k}", w.ratio(close - spread.mean[i], spread.std[i])
    line = gap[26] - gap[12]
    yield "macd", line
    yield "signal", w.decayed_mean(line, 0.2)
    middle, reach = spread.mean[AVERAGES.index(20)], 2 * spread.std[AVERAGES.index(20)]
    yield from (("upper", middle + reach), ("lower", middle - reach))
    yield from (("width", 2 * reach / middle), ("position", w.ratio(close - middle, reach)))


def in_turn(*functions: Callable[[], object], clock: Callable[[], float] = time.process_time) -> list[float]:
    """Median seconds of each function, all of them called once per round."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, taken in zip(functions, seconds, strict=True):
            started = clock()
            function()
            taken.append(clock() - started)
    return [statistics.median(taken) for taken in seconds]


def test_sixty_indicators_against_pandas(benchmark: BenchmarkFixture, prices: dict[str, np.ndarray]) -> None:
    mine, theirs = ours(prices), by_pandas(prices)
    assert len(theirs) == 60
    assert mine.keys() == theirs.keys()
    for name, column in theirs.items():
        scale = np.nanmax(np.abs(column))
        # a forgotten millionth counts most in a ratio of two averages that have both nearly died out
        part = 2e-5 if name.startswith("rsi") else 5e-6
        np.testing.assert_allclose(mine[name][5000:], column[5000:], atol=part * scale, err_msg=name)
    fast, slow = in_turn(lambda: ours(prices), lambda: by_pandas(prices))
    tolerance = "5e-6 of the largest value, RSI 2e-5"
    benchmark.extra_info.update(
        {"ratio": slow / fast, "bars_per_second": ROWS / fast, "tolerance": tolerance}
    )
    LINES.append(
        f"60 indicator columns of {ROWS:,} bars against pandas rolling and ewm, {tolerance}: {slow / fast:.1f}x, "
        f"{ROWS / fast:,.0f} bars/s (processor time, median of {ROUNDS}, alternating)"
    )
    benchmark.pedantic(ours, args=(prices,), rounds=3)


def test_the_whole_computation_against_pandas_per_column(
    benchmark: BenchmarkFixture, prices: dict[str, np.ndarray]
) -> None:
    bars = make_bars(ROWS, hole=False)
    ladder = build(bars, STEPS)
    chosen = plan(load(()), setting_of(bars, ladder, {}), Params())

    def features(threads: int | None = None) -> None:
        for _ in compute_parts(bars, {}, ladder, chosen, PART, threads):  # as the stage does
            pass

    features()
    columns = len(chosen.columns)
    for what, threads, clock in (
        (f"{cores()} cores, as the stage runs it, wall time", None, time.perf_counter),
        ("one core, processor time", 1, time.process_time),
    ):
        mine, theirs = in_turn(partial(features, threads), partial(by_pandas, prices), clock=clock)
        ratio = (theirs / 60) / (mine / columns)
        benchmark.extra_info.update(
            {f"ratio_per_column, {what}": ratio, f"bars_per_second, {what}": ROWS / mine}
        )
        LINES.append(
            f"all {columns} base and ladder columns of {ROWS:,} bars, {what}: {ROWS / mine:,.0f} bars/s, "
            f"{1e9 * mine / columns / ROWS:.1f} ns per value, {ratio:.1f}x those 60 columns of pandas per column "
            f"(median of {ROUNDS}, alternating)"
        )
    benchmark.pedantic(features, rounds=3)


def artifacts(folder: Path, bars: Bars, ladder: Ladder) -> dict[str, Path]:
    """Write what the stage reads."""
    path = {name: folder / name for name in ("bars", "regime", "mtf")}
    write_bars(path["bars"], bars, provenance("bars", "ingest", {}, {}))
    states = pd.DataFrame({"timestamp": timestamps(bars.minute), "toy": np.zeros(len(bars), np.float32)})
    write_table(path["regime"], states, provenance("regime", "regime", {}, {}, lookback={"toy": 1}))
    write_ladder(path["mtf"], ladder, provenance("mtf", "mtf", {}, {}))
    return path


def test_the_stage_as_a_cold_process_against_the_computation(
    benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    bars = make_bars(ROWS, hole=False)
    ladder = build(bars, STEPS)
    regime = {"toy": np.zeros(ROWS, np.float32)}
    chosen = plan(load(()), setting_of(bars, ladder, {"toy": 1}), Params())
    given = artifacts(tmp_path, bars, ladder)
    flags = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    command = [sys.executable, "-c", STAGE, *flags, "--features", str(tmp_path / "out")]
    components = str(Path(__file__).parents[2] / "components")

    def stage() -> float:
        environment = {**os.environ, "PYTHONPATH": components}
        said = subprocess.check_output(command, text=True, env=environment)
        return int(said.splitlines()[-1].split()[1]) / 1024

    peak = stage()
    seconds: dict[str, list[float]] = {"stage": [], "computation": []}
    for _ in range(ROUNDS):
        started = time.perf_counter()
        compute(bars, regime, ladder, chosen)
        between = time.perf_counter()
        stage()
        seconds["computation"].append(between - started)
        seconds["stage"].append(time.perf_counter() - between)
    cold, warm = (statistics.median(seconds[what]) for what in ("stage", "computation"))
    benchmark.extra_info.update({"ratio": cold / warm, "peak_mib": peak})
    LINES.append(
        f"features stage as a cold process, {ROWS:,} bars read to artifact written: {cold:.1f} s, {cold / warm:.1f} "
        f"times the warm computation on one core ({warm:.1f} s), peak memory {peak:,.0f} MiB "
        f"(median of {ROUNDS}, alternating)"
    )
    assert peak < 4096
    benchmark.pedantic(stage, rounds=1)
