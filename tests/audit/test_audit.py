"""The audit passes what is causal, catches what is not, and says what it could not test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audit.conftest import settings, verdicts
from tests.conftest import make_bars

from mlfactory.audit import chain
from mlfactory.audit.audit import audit
from mlfactory.audit.params import Params
from mlfactory.common.bars import Bars, Floats, Ints, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.weights import Spans, uniqueness
from mlfactory.features.registry import EXTRA_FOLDERS

PLANTED = '''
"""Columns that break a law each, and some that do not."""
import numpy as np
from mlfactory.features.registry import feature


@feature({"peek": 1}, unit="ratio")
def peek(x):
    """The next bar's close."""
    return np.roll(x.close, -1) / x.close


@feature({"expanding": 50}, unit="ratio")
def expanding(x):
    """Close over the mean of all closes so far."""
    return x.close * np.arange(1, len(x) + 1) / np.cumsum(x.close)


@feature({"normalised": 1}, unit="ratio")
def normalised(x):
    """Close over the highest close there is."""
    return x.close / x.close.max()


@feature({"constant": 1}, unit="1")
def constant(x):
    """Nothing."""
    return np.ones(len(x))


@feature({"honest": 20}, unit="ratio")
def honest(x):
    """Close over the close 19 bars ago."""
    return x.close / np.r_[x.close[:19], x.close[:-19]][: len(x)]


def smooth(x):
    out, level = np.empty(len(x)), 0.0
    for i, value in enumerate(np.diff(np.log(x.close), prepend=np.log(x.close[0]))):
        level += 0.1 * (value - level)
        out[i] = level
    return out


@feature({"fading": 140}, unit="log return", tolerance=1e-6)
def fading(x):
    """Exponential average of returns, decay 0.9."""
    return smooth(x)


@feature({"undeclared": 40}, unit="log return")
def undeclared(x):
    """The same, as if it forgot after 40 bars."""
    return smooth(x)
'''


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setenv(EXTRA_FOLDERS, str(tmp_path))


@pytest.fixture(scope="module")
def whole(bars: Bars) -> dict[str, Any]:
    return audit(bars, settings(mtf={"steps": [1, 5, 25, 60]}), Params())


def test_every_column_of_every_stage_is_tested_and_passes(whole: dict[str, Any]) -> None:
    assert [(row["column"], row["reasons"]) for row in whole["columns"] if row["verdict"] != "passed"] == []
    assert {row["stage"] for row in whole["columns"]} == {"regime", "mtf", "features", "labels", "weights"}
    assert whole["counts"] == {"failed": 0, "not tested": 0, "passed": len(whole["columns"])}
    assert whole["failed"] == 0


def test_every_kind_of_cut_and_of_garbage_was_tried(whole: dict[str, Any]) -> None:
    kinds = [cut["kind"] for cut in whole["cuts"]]
    assert set(kinds) == {"random", "ladder edge", "session open", "refit", "hole", "jump"}
    assert kinds.count("random") == 8
    assert all(kind["cuts"] > 8 for kind in whole["garbage"].values())


def test_every_value_has_the_same_bits_from_its_look_back_alone(whole: dict[str, Any]) -> None:
    assert [row["column"] for row in whole["columns"] if row["worst_error"]] == []


@pytest.mark.usefixtures("planted")
def test_planted_columns_are_caught_and_honest_ones_pass(short: Bars) -> None:
    rows = verdicts(short, settings(features={"groups": ["planted"]}))
    told = {name: (rows[name]["future"], rows[name]["origin"], rows[name]["verdict"]) for name in rows}
    assert told["peek"] == ("failed", "failed", "failed")
    assert told["normalised"] == ("failed", "failed", "failed")
    assert told["expanding"] == ("passed", "failed", "failed")
    assert told["undeclared"] == ("passed", "failed", "failed")
    assert told["fading"] == told["honest"] == ("passed", "passed", "passed")
    assert told["constant"] == ("not tested", "passed", "not tested")
    assert 0 < rows["fading"]["worst_error"] < 1e-6
    assert rows["constant"]["reasons"] == ["no garbage changed it after a cut"]
    assert rows["peek"]["reasons"][0].startswith("sees the future: the row of 2024-01-")


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(("strict", "failed"), [(False, 4), (True, 5)])
def test_a_strict_audit_counts_what_it_could_not_test(short: Bars, strict: bool, failed: int) -> None:
    document = audit(short, settings(features={"groups": ["planted"]}), Params(strict=strict))
    assert document["failed"] == failed


def test_a_regime_that_sees_its_own_bar_is_caught(short: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlfactory.regime.compute.lag_once", lambda column: column)
    rows = verdicts(short, settings(features={"groups": ["temporal"]}))
    assert {name for name, row in rows.items() if row["verdict"] == "failed"} == {
        name for name, row in rows.items() if row["stage"] == "regime" and name != "hmm_fit_age"
    }


def test_a_ladder_bar_known_before_it_closes_is_caught(short: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    def early(bars: Bars, steps: Any) -> Any:
        ladder = build(bars, steps)
        later = np.array([len(ladder.tables[step]) - 1 for step in steps])
        return replace(ladder, alignment=np.minimum(ladder.alignment + 1, later))

    build = chain.build
    monkeypatch.setattr(chain, "build", early)
    rows = verdicts(short, settings(features={"groups": ["temporal"]}))
    assert all(rows[f"{name}_15m"]["future"] == "failed" for name in ("high", "low", "close", "volume"))
    assert rows["label_h20"]["verdict"] == "passed"


def test_a_label_that_reads_beyond_its_end_is_caught(short: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlfactory.labels.triple_barrier import true_range_mean

    monkeypatch.setattr(
        "mlfactory.labels.stage.true_range_mean", lambda bars, n: np.roll(true_range_mean(bars, n), -120)
    )
    rows = verdicts(short, settings(features={"groups": ["temporal"]}))
    assert {rows[name]["verdict"] for name in ("label_h20", "long_net_h20", "uniqueness_h20")} == {"failed"}


def over_the_mean(start: Ints, end: Ints, unfinished: Spans) -> Floats:
    unique = uniqueness(start, end, unfinished)
    return unique / unique.mean()


def without_open_labels(start: Ints, end: Ints, unfinished: Spans) -> Floats:
    return uniqueness(start, end)


@pytest.mark.parametrize("leak", [over_the_mean, without_open_labels])
def test_a_weight_that_knows_later_rows_is_caught(
    leak: Any, short: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "uniqueness", leak)
    rows = verdicts(short, settings(features={"groups": ["temporal"]}))
    assert {name for name, row in rows.items() if row["verdict"] == "failed"} == {"uniqueness_h20"}


def test_a_series_too_short_for_a_column_leaves_it_untested() -> None:
    rows = verdicts(make_bars(900, hole=False), settings(features={"groups": ["temporal"]}))
    assert rows["hmm_p0"]["verdict"] == "not tested"
    assert rows["hmm_p0"]["reasons"][0] == "no cut has a value before it"
    assert "look-back of 1,761 bars" in rows["hmm_p0"]["reasons"][1]
    assert rows["regime_hurst"]["verdict"] == "passed"


def test_fits_that_start_warm_declare_that_no_look_back_suffices(short: Bars) -> None:
    regime = {"window_bars": 300, "burn_in_bars": 60, "iterations": 5, "warm_start": True}
    rows = verdicts(short, settings(regime=regime, features={"groups": ["temporal"]}))
    assert rows["hmm_p0"]["verdict"] == "not tested"
    assert rows["hmm_p0"]["reasons"] == ["its stage declares an unbounded look-back"]
    assert (rows["hmm_p0"]["future"], rows["hmm_p0"]["lookback"]) == ("passed", None)


def test_a_series_without_volume_says_what_it_left_out(short: Bars) -> None:
    silent = replace(short, volume=np.full(len(short), np.nan))
    document = audit(silent, settings(features={"groups": ["volume", "temporal"]}), Params())
    assert document["garbage"]["voiceless"]["cuts"] == 0
    assert len(document["switched_off"]) > 10
    assert any(
        f"{len(document['switched_off'])} columns are switched off" in note for note in document["notes"]
    )
    assert any("voiceless was never tried" in note for note in document["notes"])
    volume = [row for row in document["columns"] if row["column"].startswith("volume_")]
    assert {(row["stage"], row["verdict"]) for row in volume} == {("mtf", "not tested")}


def test_a_series_without_sessions_or_holes_says_which_cuts_it_lacks(short: Bars) -> None:
    one = replace(short, session=np.full(len(short), short.session[0]))
    document = audit(one, settings(features={"groups": ["temporal"]}), Params())
    lacking = {note.split(" (")[0] for note in document["notes"] if note.startswith("No cut")}
    assert {
        "No cut of the kind session open",
        "No cut of the kind hole",
        "No cut of the kind jump",
    } <= lacking


def test_stated_rolls_are_cut_at_and_labels_kept_apart_by_them_pass(short: Bars) -> None:
    rolls = timestamps(short.minute[[1400, 2100]])
    labels = {"rolls": [str(roll) for roll in rolls]}
    document = audit(short, settings(labels=labels, features={"groups": ["temporal"]}), Params())
    assert [cut["bar"] for cut in document["cuts"] if cut["kind"] == "roll"] == [1400, 2100]
    assert document["counts"]["failed"] == 0


def test_weights_of_a_few_bars_keep_their_bits_when_neighbours_are_still_open() -> None:
    rows = verdicts(make_bars(230, hole=False), settings(features={"groups": ["temporal"]}))
    weights = {name: row["verdict"] for name, row in rows.items() if row["stage"] == "weights"}
    assert weights == {"uniqueness_h20": "passed", "return_attribution_h20": "passed"}


def test_a_series_of_a_few_bars_is_refused() -> None:
    with pytest.raises(InputError, match="the series has 150 bars; an audit needs at least 200"):
        audit(make_bars(150, hole=False), settings(), Params())


def test_the_same_seed_gives_the_same_document(short: Bars) -> None:
    small = settings(features={"groups": ["temporal"]})
    first, again, other = (audit(short, small, Params(seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first["cuts"] != other["cuts"]
