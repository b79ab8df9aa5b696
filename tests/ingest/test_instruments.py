"""Known symbols, contracts of them, and instruments that a user adds."""

from pathlib import Path

import pytest

from mlfactory.common.errors import InputError
from mlfactory.ingest.instruments import instrument, instruments, load_instruments

OWN = {
    "tick_size": 0.5,
    "tick_value": 5.0,
    "commission_ticks": 0.4,
    "slippage_ticks": 0.5,
    "half_spread_ticks": 0.5,
    "calendar": "CME_Equity",
}


@pytest.mark.parametrize("symbol", sorted(instruments()))
def test_every_instrument_costs_something_to_trade(symbol: str) -> None:
    known = instruments()[symbol]
    assert known.symbol == symbol
    assert 0 < known.round_trip_cost < 100 * known.tick_size


@pytest.mark.parametrize(
    ("symbol", "point_value"),
    [
        ("ES", 50),
        ("MES", 5),
        ("NQ", 20),
        ("GC", 100),
        ("MGC", 10),
        ("CL", 1000),
        ("6E", 125_000),
        ("FESX", 10),
    ],
)
def test_tick_value_over_tick_size_is_the_exchanges_multiplier(symbol: str, point_value: float) -> None:
    known = instruments()[symbol]
    assert known.tick_value / known.tick_size == pytest.approx(point_value)


def test_the_round_trip_cost_is_in_price_units_with_both_fills() -> None:
    micro = instruments()["MES"]
    assert micro.round_trip_cost == (0.5 + 2 * (0.5 + 0.5)) * 0.25


@pytest.mark.parametrize(
    ("contract", "root"), [("NQH6", "NQ"), ("6EH4", "6E"), ("ESZ2024", "ES"), ("MGCG26", "MGC"), ("CL", "CL")]
)
def test_a_contract_is_traded_like_its_root(contract: str, root: str) -> None:
    found = instrument(contract)
    assert (found.symbol, found.root) == (contract, root)
    assert found.model_dump(exclude={"symbol"}) == instruments()[root].model_dump(exclude={"symbol"})


def test_fields_replace_those_of_a_known_symbol() -> None:
    assert instrument("ES", {"slippage_ticks": 2}).slippage_ticks == 2
    assert instruments({"ES": {"slippage_ticks": 2}})["ES"].tick_size == 0.25


def test_a_users_file_adds_instruments(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("RTY:\n" + "".join(f"  {key}: {value}\n" for key, value in OWN.items()), encoding="utf-8")
    known = instruments(load_instruments(file))
    assert known["RTY"].tick_size == 0.5
    assert set(instruments()) < set(known)
    assert instrument("RTY", load_instruments(file)["RTY"]).calendar == "CME_Equity"


def test_an_unknown_symbol_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"symbol 'SPX' is not known; known: 6E, BTCUSD, CL, ES,"):
        instrument("SPX")


@pytest.mark.parametrize("symbol", ["ESH", "H6", "XXH6", "es"])
def test_what_is_no_contract_of_a_known_root_is_unknown(symbol: str) -> None:
    with pytest.raises(InputError, match="is not known"):
        instrument(symbol)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RTY: {tick_size: 1", "is not YAML"),
        ("- RTY", "must map each symbol to its fields"),
        ("RTY: {tick_size: 1}", r"instrument RTY.tick_value"),
        ("ES: {tick_siz: 1}", "instrument ES.tick_siz is not a parameter; known: .*tick_size"),
        ("ES: {tick_size: -1}", r"instrument ES.tick_size is -1"),
        ("ES: {open_time: '9am'}", r"instrument ES.open_time is '9am'"),
    ],
)
def test_a_bad_instrument_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_instruments(file)


def test_a_missing_instrument_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.yaml cannot be read: No such file"):
        load_instruments(tmp_path / "none.yaml")
