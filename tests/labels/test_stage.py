"""The labels stage: its table, its parameters, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import make_bars

from mlfactory.common.artifacts import provenance, read_table, sha256
from mlfactory.common.bars import Bars, write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.params import parse
from mlfactory.common.stage import call, main
from mlfactory.labels.costs import round_trip
from mlfactory.labels.params import BARRIERS, Params
from mlfactory.labels.stage import run
from mlfactory.labels.triple_barrier import triple_barrier, true_range_mean


def stored(folder: Path, bars: Bars) -> Path:
    write_bars(folder / "bars", bars, provenance("bars", "ingest", {}, {}))
    return folder / "bars"


def label(folder: Path, bars: Bars, **params: Any) -> Path:
    call(run, {"bars": stored(folder, bars), "labels": folder / "labels", "params": params})
    return folder / "labels"


def test_the_table_holds_one_row_per_bar_and_the_columns_of_every_horizon(tmp_path: Path) -> None:
    frame, facts = read_table(label(tmp_path, make_bars(900), horizons=[20.0, 5.0]), "labels")
    assert len(frame) == 900
    assert frame["row"].tolist() == list(range(900))
    shared = ["timestamp", "row", "segment", "session", "log_return"]
    each = ["label", "valid", "end", "open_until", *(f"{s}_{c}" for s in ("long", "short") for c in
            ("end", "touch", "fill", "net", "mae", "mfe"))]  # fmt: skip
    assert frame.columns.tolist() == shared + [f"{name}_h{h}" for h in (5, 20) for name in each]
    assert facts["horizons"] == [5, 20]
    assert facts["barriers"]["20"] == {"max_bars": 50, "stop_loss": 2.3, "take_profit": 2.75}
    assert facts["cost"] == pytest.approx(1.5 * 0.25)


def test_the_labels_charge_the_cost_of_the_instrument(tmp_path: Path) -> None:
    bars = make_bars(900)
    frame, _ = read_table(label(tmp_path, bars, barriers={"20": PLAIN}), "labels")
    unit, cost = true_range_mean(bars, 14), bars.instrument.round_trip_cost
    same = triple_barrier(bars, unit, np.full(900, cost), Params(barriers={"20": PLAIN}).barrier(20, "TOY"))
    np.testing.assert_array_equal(frame["label_h20"], same.label)
    np.testing.assert_array_equal(frame["short_net_h20"], same.net[:, 1])


PLAIN: Any = {"take_profit": 1, "stop_loss": 1, "max_bars": 12}


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (label(tmp_path / name, make_bars(900)) for name in ("a", "b"))
    assert sha256(first) == sha256(second)


def test_the_sign_of_a_timeout_labels_when_asked(tmp_path: Path) -> None:
    flat, signed = (
        read_table(label(tmp_path / str(sign), make_bars(900), timeout_sign=sign), "labels")[0]
        for sign in (False, True)
    )
    assert (signed["label_h20"] != 0).sum() > (flat["label_h20"] != 0).sum()
    won = (flat["label_h20"] == 0) & (signed["label_h20"] == 1)
    assert (signed["long_net_h20"][won] > 0).all()


def test_the_signature_of_run_is_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = stored(tmp_path, make_bars(900))
    main(
        run,
        ["--bars", str(bars), "--labels", str(tmp_path / "out"), "--params", json.dumps({"horizons": [10]})],
    )
    assert capsys.readouterr().out.startswith("labels: 900 bars; h10: ")


@pytest.mark.parametrize("symbol", [*BARRIERS, "CL"])
def test_every_symbol_has_barriers_for_the_four_horizons(symbol: str) -> None:
    for horizon in (5, 10, 15, 20):
        assert Params().barrier(horizon, symbol).max_bars >= 2 * horizon


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"horizons": [7]}, r"labels.horizons holds 7, .*known: 5, 10, 15, 20.*labels.barriers.7"),
        ({"horizons": [5, 5]}, "names a horizon twice"),
        ({"horizons": []}, "labels.horizons"),
        ({"barriers": {"10": PLAIN}}, r"labels.barriers has 10; labels.horizons holds \[20\]"),
        ({"barriers": {"20": PLAIN | {"max_bars": 890}}}, "horizon 20 needs 905 bars .* the data has 900"),
        ({"barriers": {"20": PLAIN | {"take_profit": 0}}}, r"labels.barriers.20.take_profit is 0"),
        ({"ambiguous": "best"}, "labels.ambiguous is 'best'"),
        ({"horizon": 20}, "labels.horizon is not a parameter; known: ambiguous, atr_bars, barriers"),
    ],
)
def test_bad_parameters_are_named(tmp_path: Path, params: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label(tmp_path, make_bars(900), **params)
    assert not (tmp_path / "labels").exists()


def test_data_without_any_finished_trade_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bar of 70 has a known outcome for horizon 20"):
        label(tmp_path, make_bars(70), barriers={"20": PLAIN | {"take_profit": 99,
              "stop_loss": 99, "max_bars": 55}})  # fmt: skip


def test_volatile_bars_pay_more_slippage_by_the_rule(tmp_path: Path) -> None:
    bars = make_bars(2000)
    params = Params(volatile_slippage=3, volatile_ratio=1.2, volatile_bars=100)
    unit = true_range_mean(bars, 14)
    cost = round_trip(bars, unit, params)
    quiet = bars.instrument.round_trip_cost
    dear = unit > 1.2 * true_range_mean(bars, 100)
    assert 50 < dear.sum() < 1000
    assert np.unique(cost[~np.isnan(cost)]).tolist() == [quiet, quiet + 2 * 0.25 * 0.25 * 2]
    assert (cost[dear] > quiet).all()
    frame, _ = read_table(
        label(tmp_path, bars, **params.model_dump(exclude={"horizons", "barriers"})), "labels"
    )
    known = frame["valid_h20"].to_numpy()
    assert not known[:100].any()
    paid = frame["long_net_h20"] + frame["short_net_h20"]
    entry = np.r_[bars.open[1:], np.nan]
    timed_out = known & (frame["long_touch_h20"] == 0) & (frame["short_touch_h20"] == 0)
    np.testing.assert_allclose(-paid[timed_out], 2 * (cost / entry)[timed_out], rtol=1e-9)


def test_the_cost_of_a_bar_does_not_depend_on_where_the_file_starts() -> None:
    bars, params = make_bars(2000, hole=False), Params(volatile_slippage=3, volatile_bars=100)
    whole = round_trip(bars, true_range_mean(bars, 14), params)
    late = round_trip(bars[700:], true_range_mean(bars[700:], 14), params)
    np.testing.assert_array_equal(whole[800:], late[100:])


def test_floats_that_kfp_makes_of_integers_are_accepted() -> None:
    assert parse(Params, {"horizons": [20.0], "max_gap": 30.0}, "labels") == Params()
