"""The dataset stage: which rows and columns models see, and that training learns nothing of the locked test."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import make_bars
from tests.dataset.conftest import CATALOGUE, LOOKBACK, OUTPUTS, Case, table

from mlfactory.common.artifacts import provenance, read_folder, read_matrix, read_table, sha256
from mlfactory.common.bars import write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index, read_index
from mlfactory.common.raw_bars import depths, read_raw_bars
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN, UNUSED
from mlfactory.dataset.feature_sets import timeframes
from mlfactory.dataset.params import Params
from mlfactory.dataset.parts import Embargo, Labels, Rows, build_index

Made = tuple[Case, Path]
SCHEMES: dict[str, dict[str, Any]] = {
    "kfold": {},
    "expanding": {"scheme": "walk_forward"},
    "rolling": {"scheme": "walk_forward", "train_blocks": 2},
    "combinatorial": {"scheme": "combinatorial", "n_folds": 4},
    "by time": {"purge_by": "time", "embargo_minutes": 50},
    "combinatorial by time": {
        "scheme": "combinatorial",
        "n_folds": 4,
        "purge_by": "time",
        "embargo_minutes": 50,
    },
}


def touching(index: Index, horizon: int, fold: int, embargo: int) -> int:
    """Count pairs of training and validation spans that meet or violate the embargo, by comparing every pair."""
    count = 0
    for fitted, kept in ((TRAIN, HELD_OUT), (INNER, HELD_OUT), (TRAIN, INNER)):
        rows, held = index.rows(horizon, fold, fitted), index.rows(horizon, fold, kept)
        locked = fold == REFIT and kept == HELD_OUT
        (start, end), first = index.spans(horizon, rows), index.bar[held]
        first, last = (first, np.full(len(held), 10**12)) if locked else index.spans(horizon, held)
        if locked and index.by_time:
            first = index.minute[held]
        # nothing that is trained on follows the inner part, whose embargo is therefore of no account
        reach = last + (embargo if kept == HELD_OUT and not locked else 0)
        count += int(((start[:, None] <= reach) & (end[:, None] >= first)).sum())
    return count


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_training_span_meets_a_held_out_span(case: Case, scheme: str) -> None:
    index = read_index(case.make(**SCHEMES[scheme]) / "index")
    assert index.embargo == 50
    assert index.by_time == ("time" in scheme)
    for h in index.horizons:
        for fold in (*range(index.n_folds), REFIT):
            assert touching(index, h, fold, embargo=50) == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_training_row_lies_in_the_seal_of_its_fold(case: Case, scheme: str) -> None:
    index = read_index(case.make(**SCHEMES[scheme]) / "index")
    for h in index.horizons:
        for fold in (*range(index.n_folds), REFIT):
            sealed = index.sealed(h, fold)
            assert sealed[index.rows(h, fold, HELD_OUT)].all()
            assert not sealed[index.rows(h, fold, TRAIN)].any()
            assert not sealed[index.rows(h, fold, INNER)].any()


def test_combinatorial_folds_hold_out_every_choice_and_every_row_equally_often(case: Case) -> None:
    index = read_index(case.make(scheme="combinatorial", n_folds=4, held_out_blocks=2) / "index")
    assert (index.n_folds, index.facts["scheme"]) == (6, "combinatorial")
    for h in index.horizons:
        held = index.code[h][:, :6] == HELD_OUT
        assert set(held.sum(axis=1)) == {0, 3}
        assert len(np.unique(held[held.any(axis=1)], axis=0)) == 4  # blocks
        # training goes on between two held-out blocks that are apart
        apart = index.code[h][:, 1]
        first, last = np.flatnonzero(apart == HELD_OUT)[[0, -1]]
        assert np.isin(apart[first:last], (TRAIN, INNER)).sum() > 50
        assert len(index.sealed_bars(h, 1)) == 2


def test_the_default_embargo_in_time_covers_the_longest_label_as_it_came(case: Case) -> None:
    index = read_index(case.make(purge_by="time", n_folds=2) / "index")
    longest = 0
    for h in index.horizons:
        rows = np.flatnonzero(index.label[h] >= 0)
        start, end = index.spans(h, rows)
        longest = max(longest, int((end - start).max()))
    assert index.embargo == longest > 50


def test_purging_by_time_and_by_position_agree_without_an_embargo_that_spans_a_halt(case: Case) -> None:
    by_bar = read_index(case.make("bar", embargo_bars=1) / "index")
    by_time = read_index(case.make("time", purge_by="time", embargo_minutes=1) / "index")
    for h in by_bar.horizons:
        differ = (by_bar.code[h] != by_time.code[h]).sum()
        assert differ <= 2 * by_bar.n_folds  # an absent minute, or the inner part one row longer


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"embargo_minutes": 5},
            "embargo_minutes is 5, but spans are compared by position: give dataset.embargo_bars",
        ),
        (
            {"purge_by": "time", "embargo_bars": 5},
            "embargo_bars is 5, but .* by time: give dataset.embargo_minutes",
        ),
        ({"train_blocks": 2}, "train_blocks is 2: only the scheme walk_forward has it; it is kfold"),
        ({"held_out_blocks": 3}, "held_out_blocks is 3: only the scheme combinatorial has it"),
        ({"scheme": "combinatorial", "held_out_blocks": 3}, "held_out_blocks is 3 of 3 blocks"),
        (
            {"scheme": "combinatorial", "n_folds": 20, "held_out_blocks": 10},
            "n_folds 20 and held_out_blocks 10 make 184,756 folds, .* at most 500",
        ),
        ({"embargo_bars": 5000}, r"horizon 5: fold 1 of 3 keeps 0 training rows .* an embargo of 5000 bars"),
        (
            {"purge_by": "time", "embargo_minutes": 90_000},
            r"horizon 5: fold 1 of 3 keeps 0 training rows .* an embargo of 90000 minutes",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_one_clear_error(case: Case, params: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        case.make(**params)
    assert not (case.folder / "out" / "index").exists()


def test_that_check_catches_an_embargo_that_is_too_short(case: Case) -> None:
    index = read_index(case.make(embargo_bars=1) / "index")
    assert touching(index, 20, 0, embargo=1) == 0
    assert touching(index, 20, 0, embargo=50) > 0


# What training reads of the locked test: nothing.


def training_reads(folder: Path) -> dict[str, str]:
    return {name: sha256(folder / name) for name in OUTPUTS if name != "test_labels"}


def test_other_labels_in_the_locked_test_leave_every_byte_that_training_reads(
    made: Made, tmp_path: Path
) -> None:
    case, out = made
    index = read_index(out / "index")
    first = int(index.bar[index.facts["test_row"]])
    frame, facts = read_table(case.folder / "labels", "labels")
    later = frame.index >= first
    for h in case.horizons:
        frame.loc[later, f"label_h{h}"] *= -1
        frame.loc[later, f"valid_h{h}"] = True
        frame.loc[later, f"long_net_h{h}"] = 0.5
    write(tmp_path / "labels", frame, facts)
    other = case.make("other_labels", labels=tmp_path / "labels")
    assert training_reads(other) == training_reads(out)
    assert sha256(other / "test_labels") != sha256(out / "test_labels")


def write(path: Path, frame: pd.DataFrame, facts: dict[str, Any]) -> None:
    from mlfactory.common.artifacts import write_table

    write_table(path, frame, {key: value for key, value in facts.items() if key not in ("rows", "columns")})


def test_other_prices_in_the_locked_test_leave_the_index(made: Made, tmp_path: Path) -> None:
    case, out = made
    index = read_index(out / "index")
    first = int(index.bar[index.facts["test_row"]])
    scale = np.where(np.arange(len(case.bars)) < first, 1.0, 1.1 + 0.01 * np.sin(np.arange(len(case.bars))))
    prices = {name: getattr(case.bars, name) * scale for name in ("open", "high", "low", "close")}
    write_bars(tmp_path / "bars", replace(case.bars, **prices), provenance("bars", "ingest", {}, {}))
    case.write_labels(tmp_path / "bars", tmp_path / "labels")
    other = case.make("other_prices", labels=tmp_path / "labels")
    assert training_reads(other) == training_reads(out)


def test_those_checks_catch_an_index_that_keeps_labels_reaching_into_the_test(made: Made) -> None:
    index = read_index(made[1] / "index")
    label = {h: np.where(index.label[h] < 0, 1, index.label[h]) for h in index.horizons}
    rows = Rows(
        index.bar,
        index.minute,
        index.segment,
        index.session,
        index.log_return,
        index.event,
        len(index) - 1,
    )
    kept = {
        h: Labels(
            label[h],
            np.ones(len(index), np.bool_),
            index.bar + 3,
            index.bar + 3,
            (index.bar + 3)[:, None].repeat(2, axis=1),
            index.long_net[h],
            index.short_net[h],
        )
        for h in index.horizons
    }
    leaky = build_index(rows, kept, Embargo(5, by_time=False), Params(n_folds=2))
    test_row = index.facts["test_row"]
    assert (leaky.label[20][test_row:-4] != -1).any()
    assert (index.label[20][test_row:] == -1).all()


def test_the_index_is_blank_where_the_locked_test_could_speak(made: Made) -> None:
    index = read_index(made[1] / "index")
    first = index.bar[index.facts["test_row"]]
    for h in index.horizons:
        assert index.end[h].max() < first
        blank = index.label[h] == -1
        assert blank[index.bar >= first].all()
        assert (index.end[h][blank] == -1).all()
        assert np.isnan(index.long_net[h][blank]).all()
        assert np.isnan(index.short_net[h][blank]).all()
        assert blank[index.bar < first].any()  # rows whose trades reach into the test
        assert (index.code[h][blank & (index.bar < first)] == UNUSED).all()


def test_every_horizon_predicts_the_same_test_rows_whatever_their_outcome(made: Made) -> None:
    index = read_index(made[1] / "index")
    expected = np.flatnonzero(index.event & (np.arange(len(index)) >= index.facts["test_row"]))
    for h in index.horizons:
        assert index.rows(h, REFIT, HELD_OUT).tolist() == expected.tolist()


def test_the_test_labels_are_those_of_the_labels_table(made: Made) -> None:
    case, out = made
    index = read_index(out / "index")
    locked, _ = read_table(out / "test_labels", "test_labels")
    labels, _ = read_table(case.folder / "labels", "labels")
    assert set(locked["horizon"]) == {5, 20}
    for h in index.horizons:
        part = locked[locked["horizon"] == h]
        source = labels.iloc[part["bar"]].reset_index(drop=True)
        assert part["row"].min() >= index.facts["test_row"]
        assert index.event[part["row"]].all()
        assert source[f"valid_h{h}"].all()
        assert (part["label"].to_numpy() == source[f"label_h{h}"].to_numpy() + 1).all()
        for name in ("end", "long_net", "short_net", "long_end", "short_end"):
            assert (part[name].to_numpy() == source[f"{name}_h{h}"].to_numpy()).all()
        assert (part["timestamp"].to_numpy() == source["timestamp"].to_numpy()).all()
        ends = labels["timestamp"].iloc[part["end"]].to_numpy()
        assert (part["end_timestamp"].to_numpy() == ends).all()


# Rows and columns.


def test_rows_are_the_bars_after_the_warm_up_of_each_segment(made: Made) -> None:
    case, out = made
    index = read_index(out / "index")
    assert index.bar.tolist() == np.flatnonzero(case.bars.row_in_segment >= LOOKBACK - 1).tolist()
    assert (index.minute == case.bars.minute[index.bar]).all()


def test_every_matrix_row_is_the_row_of_its_bar(made: Made) -> None:
    _, out = made
    index = read_index(out / "index")
    boosting = read_matrix(out / "boosting_optimal", "boosting_optimal")
    assert boosting.columns == ("return_1", "slow_30", "mtf_5_return")
    assert (boosting.values == index.bar[:, None] + np.array([0, 2, 3]) / 4).all()


def test_sequence_models_get_no_higher_timeframe_and_nobody_gets_a_level(made: Made) -> None:
    assert read_matrix(made[1] / "neural_optimal", "neural_optimal").columns == ("return_1", "slow_30")


def test_a_set_of_the_users_own_names_columns_or_groups(case: Case) -> None:
    out = case.make(feature_sets={"neural_optimal": ["group:mtf", "return_1"]})
    assert read_matrix(out / "neural_optimal", "neural_optimal").columns == ("return_1", "mtf_5_return")


def test_a_matrix_holds_the_sets_that_its_models_are_assigned_to(case: Case) -> None:
    out = case.make(
        feature_sets={"mine": ["ema_20", "group:returns"], "ladder": ["group:mtf"]},
        extra_sets={"neural_optimal": ["mine", "ladder"], "boosting_optimal": ["mine"]},
    )
    neural = read_matrix(out / "neural_optimal", "neural_optimal")
    assert neural.columns == ("return_1", "ema_20", "slow_30", "mtf_5_return")
    assert neural.facts["sets"] == {
        "neural_optimal": ["return_1", "slow_30"],
        "mine": ["return_1", "ema_20"],
        "ladder": ["mtf_5_return"],
    }
    boosting = read_matrix(out / "boosting_optimal", "boosting_optimal")
    assert boosting.columns == ("return_1", "ema_20", "slow_30", "mtf_5_return")
    assert "ema_20" not in boosting.facts["sets"]["boosting_optimal"]
    index = read_index(out / "index")
    assert (neural.values == index.bar[:, None] + np.array([0, 1, 2, 3]) / 4).all()


def test_events_lie_at_calendar_instants_wherever_the_file_starts(tmp_path: Path) -> None:
    bars = make_bars(3000)
    events = []
    for name, part in (("whole", bars), ("late", bars[7:])):
        (tmp_path / name).mkdir()
        index = read_index(Case(tmp_path / name, part).make(stride=3) / "index")
        events.append(set(index.minute[index.event].tolist()))
    assert events[1] < events[0]
    assert {minute % 3 for minute in events[0]} == {0}


def test_raw_windows_hold_the_last_closed_bars_of_each_timeframe(made: Made) -> None:
    case, out = made
    raw, index = read_raw_bars(out / "transformer_raw"), read_index(out / "index")
    assert raw.timeframes == (1, 5, 15)
    assert raw.channels == ("open", "high", "low", "close")
    assert raw.end.shape == raw.depth.shape == (len(index), 3)
    for row in (0, 500, 2000, len(index) - 1):
        last = raw.tables[1][raw.end[row, 0]]
        bar = index.bar[row]
        assert last.tolist() == [getattr(case.bars, name)[bar] for name in raw.channels]
        assert raw.depth[row, 0] == case.bars.row_in_segment[bar] + 1
        for k, minutes in enumerate(raw.timeframes):
            first = raw.first[minutes][raw.end[row, k]]
            assert case.bars.minute[first] % minutes == 0 or case.bars.minute[
                first - 1
            ] // minutes * minutes < (case.bars.minute[first] // minutes * minutes)
            assert raw.tables[minutes][raw.end[row, k], 0] == case.bars.open[first]
    assert read_folder(out / "transformer_raw", "transformer_raw")["full_rows"] == raw.full().sum() > 0


def test_timeframes_and_channels_of_the_raw_bars_are_chosen(case: Case) -> None:
    raw = read_raw_bars(case.make(timeframes=[15, 5], channels="ohlcv") / "transformer_raw")
    assert raw.timeframes == (5, 15)
    assert raw.channels == ("open", "high", "low", "close", "volume")
    whole = read_raw_bars(case.make("whole") / "transformer_raw")
    np.testing.assert_array_equal(raw.end, whole.end[:, 1:])
    np.testing.assert_array_equal(raw.tables[5][:, :4], whole.tables[5])


def test_the_depth_of_a_window_is_counted_within_its_segment() -> None:
    assert depths(np.array([0, 0, 0, 1, 1]), np.array([-1, 0, 2, 3, 4], np.int32)).tolist() == [0, 1, 3, 1, 2]


def test_two_runs_give_the_same_bytes(made: Made) -> None:
    case, out = made
    again = case.make("again")
    assert {name: sha256(again / name) for name in OUTPUTS} == {name: sha256(out / name) for name in OUTPUTS}


def test_the_index_states_the_market_the_barriers_and_the_scheme(made: Made) -> None:
    facts = read_index(made[1] / "index").facts
    assert facts["instrument"]["symbol"] == "TOY"
    assert facts["cost"] > 0
    assert set(facts["barriers"]) == {"5", "20"}
    assert facts["scheme"] == "kfold"


# Errors.


def test_a_column_that_is_not_finite_is_named_with_its_first_row(case: Case) -> None:
    frame = table(case.bars)
    frame.loc[1000, "slow_30"] = np.nan
    case.write_features(frame)
    with pytest.raises(InputError, match=r"column slow_30 is not finite in 1 of 2942 rows .* first at 2024-"):
        case.make()
    assert not (case.folder / "out").exists()


def test_a_level_that_is_not_finite_is_nobodys_business(case: Case) -> None:
    frame = table(case.bars)
    frame.loc[1000, "ema_20"] = np.nan
    case.write_features(frame)
    case.make()


def test_features_of_other_bars_are_refused(case: Case) -> None:
    case.write_features(table(case.bars[:2990]))
    with pytest.raises(InputError, match=r"features \(2990 rows\) and labels \(3000 rows\)"):
        case.make()


def test_two_rows_of_the_same_bar_are_refused(case: Case, tmp_path: Path) -> None:
    frame, facts = read_table(case.folder / "labels", "labels")
    frame.loc[1500, "timestamp"] = frame.loc[1499, "timestamp"]
    write(tmp_path / "twice", frame, facts)
    with pytest.raises(InputError, match="every row must be later than the one before"):
        case.make(labels=tmp_path / "twice")


def test_a_ladder_of_other_bars_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Case(tmp_path / "other", case.bars[:2990])
    shutil.rmtree(case.folder / "mtf")
    (other.folder / "mtf").rename(case.folder / "mtf")
    with pytest.raises(InputError, match=r"mtf \(2990 rows\) and labels \(3000 rows\)"):
        case.make()


def test_timeframes_shorter_than_a_bar_are_left_out_as_the_ladder_leaves_them_out() -> None:
    assert timeframes((60, 1, 5), (5, 15, 60), 5) == (5, 60)
    assert timeframes((), (5, 15), 5) == (5, 15)
    with pytest.raises(
        InputError, match=r"dataset.timeframes is \[1\]: none is as long as a bar of 5 minutes"
    ):
        timeframes((1,), (5, 15), 5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_folds": 70}, "horizon 5: fold [0-9]+ of 70 keeps [0-9]+ held-out rows of [0-9]+ "),
        ({"embargo_bars": 2900}, "keeps 0 training rows"),
        ({"stride": 200}, "the development has [0-9]+ rows, of 2942 .* stride 200"),
        ({"test_fraction": 0.01}, "the locked test has [0-9]+ rows"),
        (
            {"feature_sets": {"neural_optimal": ["rsi_14"]}},
            "neural_optimal names rsi_14, .*groups: mtf, returns, trend",
        ),
        ({"feature_sets": {"neural_optimal": []}}, "the feature set neural_optimal is empty"),
        (
            {"feature_sets": {"neural": ["return_1"]}},
            "dataset.feature_sets.neural is read by no model: assign",
        ),
        (
            {"extra_sets": {"neural_optimal": ["mine"]}},
            "extra_sets.neural_optimal names mine; known: boosting_optimal, neural_optimal",
        ),
        ({"extra_sets": {"neural": ["mine"]}}, "dataset.extra_sets.neural"),
        ({"scheme": "random"}, "dataset.scheme is 'random'"),
        ({"timeframes": [5, 7]}, "dataset.timeframes names 7, which mtf does not have; known: 1, 5, 15"),
    ],
)
def test_bad_parameters_are_errors_with_names_and_numbers(case: Case, params: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        case.make(**params)
    assert not (case.folder / "out").exists()


def test_a_look_back_longer_than_every_segment_is_an_error(case: Case) -> None:
    case.write_features(table(case.bars), [{**column, "lookback": 5000} for column in CATALOGUE])
    with pytest.raises(
        InputError, match=r"need 5000 bars of history .* longest of 2 segments has 1800 of 3000 bars"
    ):
        case.make()


def test_a_class_that_never_occurs_is_an_error(tmp_path: Path) -> None:
    far = {"barriers": {"20": {"take_profit": 500, "stop_loss": 500, "max_bars": 20}}}
    case = Case(tmp_path, make_bars(3000), horizons=(20,), label_params=far)
    with pytest.raises(
        InputError, match=r"horizon 20: the [0-9]+ training rows of fold 1 of 3 hold no label short or long"
    ):
        case.make()


def test_a_segment_shorter_than_the_look_back_is_counted_in_the_summary(tmp_path: Path) -> None:
    bars = make_bars(3000)
    bars.segment[-(LOOKBACK - 1) :] = 2
    case = Case(tmp_path, bars)
    case.make()
    assert case.summary is not None
    assert "; 1 of 3 segments leave no row: shorter than the look-back of 30 bars" in case.summary.line
    assert case.summary.metrics["segments_without_rows"] == 1


def test_a_series_whose_segments_all_leave_rows_has_nothing_to_say_of_them(case: Case) -> None:
    case.make()
    assert case.summary is not None
    assert "segments" not in case.summary.line
