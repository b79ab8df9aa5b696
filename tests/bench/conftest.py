"""Side-by-side timing: ours and an anchor in one process, alternating, the ratio of medians printed at the end."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

LINES: list[str] = []


@pytest.fixture
def side_by_side(benchmark: Any) -> Callable[..., tuple[Any, Any]]:
    """Time ``ours`` against ``anchor``; sizes are the bars (or other units) that each of them handles."""

    def run(
        what: str,
        ours: Callable[[], Any],
        anchor: Callable[[], Any],
        sizes: tuple[int, int],
        rounds: int = 5,
        unit: str = "bars",
        clock: Callable[[], float] = time.perf_counter,
    ) -> tuple[Any, Any]:
        mine, theirs = ours(), None  # the first call compiles
        seconds: dict[str, list[float]] = {"ours": [], "anchor": []}
        for _ in range(rounds):
            started = clock()
            theirs = anchor()
            between = clock()
            mine = ours()
            seconds["anchor"].append(between - started)
            seconds["ours"].append(clock() - between)
        rate = sizes[0] / median(seconds["ours"])
        ratio = rate * median(seconds["anchor"]) / sizes[1]
        LINES.append(f"{what}: {ratio:,.1f}x, {rate:,.0f} {unit}/s (median of {rounds}, alternating)")
        benchmark.extra_info.update(ratio=ratio, bars_per_second=rate)
        benchmark.pedantic(ours, rounds=1)
        return mine, theirs

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LINES:
        terminalreporter.section("ours against the anchor")
        for line in LINES:
            terminalreporter.write_line(line)
