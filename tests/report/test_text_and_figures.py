import re

import numpy as np
import pytest

from mlfactory.report.figures import Line, Mark, equity, marked, reliability, ticks, whisker
from mlfactory.report.text import count, day, interval, number, percent


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (1.23456, 4, False, "1.2346"),
        (1234.5, 1, True, "+1,234.5"),
        (-0.5, 2, False, "\N{MINUS SIGN}0.50"),
        (-0.00001, 2, True, "0.00"),
        (None, 2, False, "\N{EN DASH}"),
    ],
)
def test_numbers_are_written_with_fixed_digits(value: float, digits: int, sign: bool, text: str) -> None:
    assert number(value, digits, sign=sign) == text


def test_shares_counts_days_and_intervals_are_written_for_people() -> None:
    assert percent(0.1234, 1) == "12.3\N{NO-BREAK SPACE}%"
    assert percent(None) == "\N{EN DASH}"
    assert count(98304) == "98,304"
    assert day(28_401_120) == "2024-01-01"
    assert interval(-0.5, 0.25, 2) == "\N{MINUS SIGN}0.50 … 0.25"
    assert interval(None, 1.0) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (-3, 22, [0, 5, 10, 15, 20]), (0.011, 0.049, [0.02, 0.03, 0.04])],
)
def test_ticks_are_round_numbers_within_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == pytest.approx(expected)


def heights(figure: str) -> list[float]:
    path = re.search(r'<path class="line one" d="([^"]+)"', figure)
    assert path is not None
    return [float(v) for v in re.findall(r"V([-\d.]+)", path[1])]


def test_a_rising_equity_rises_on_the_page() -> None:
    line = Line("up", [0, 1440, 2880], [0.0, 0.01, 0.02], "one")
    first, last = heights(equity([line], []))
    assert last < first  # pixels count downwards


def test_a_backdrop_that_falls_far_does_not_flatten_the_lines() -> None:
    line = Line("model", [0, 1440, 2880], [0.0, 0.01, 0.0], "one")
    up, down = heights(equity([line], [Line("always long", [0, 2880], [0.0, -5.0], "three")]))
    assert down - up > 40


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_lines_without_any_change_can_be_drawn(value: float) -> None:
    flat = Line("flat", [0.0, 0.0], [value, value], "one")
    for figure in (equity([flat], [flat]), reliability([flat]), whisker(value, value, value, (0.0, value))):
        assert "nan" not in figure


@pytest.mark.parametrize(
    ("low", "high", "style"), [(0.1, 0.2, "above"), (-0.2, -0.1, "below"), (-0.1, 0.1, "unsure")]
)
def test_a_whisker_shows_on_which_side_of_zero_it_lies(low: float, high: float, style: str) -> None:
    assert f"whisker {style}" in whisker(low, (low + high) / 2, high, (-0.3, 0.3))


def test_reliability_keeps_every_bin() -> None:
    line = Line("long", np.linspace(0.2, 0.4, 7).tolist(), np.linspace(0.1, 0.5, 7).tolist(), "long")
    assert reliability([line]).count("<circle") == 7


@pytest.mark.parametrize(
    ("prices", "labels"),
    [([1.07, 1.08, 1.1], ["1.07", "1.08", "1.09", "1.10"]), ([4000.0, 4900.0, 4600.0], ["4,000", "4,500"])],
)
def test_a_marked_series_names_its_marks_and_labels_prices_by_their_size(
    prices: list[float], labels: list[str]
) -> None:
    marks = [Mark(1440.0, prices[1], "m1", "a <hole>"), Mark(2880.0, prices[2], "m2", "a jump")]
    drawn = marked(Line("Close", [0.0, 1440.0, 2880.0], prices, "three"), marks)
    assert drawn.count('<circle class="mark') == drawn.count('<line class="mark') == 2
    assert "<title>a &lt;hole&gt;</title>" in drawn
    assert set(labels) <= set(re.findall(r'<text class="tick end"[^>]*>([^<]*)</text>', drawn))
