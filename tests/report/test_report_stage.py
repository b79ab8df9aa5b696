import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from toy_run import FAMILY, ToyRun

from mlfactory.common.artifacts import provenance, read_json, read_table, sha256, write_json, write_table
from mlfactory.common.bars import timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.metrics import class_frequencies, expected_best
from mlfactory.common.splits import HELD_OUT, REFIT
from mlfactory.oof.stage import run as run_oof
from mlfactory.report.page import RESOURCES
from mlfactory.report.params import Params
from mlfactory.report.stage import run
from mlfactory.stacking.params import Params as StackingParams
from mlfactory.stacking.stage import run as run_stacking

PARAMS = Params(draws=1000, shuffles=40)
OUTPUTS = ("report", "html", "leaderboard")


class Judged:
    """A toy run up to stacking, and its report on demand."""

    def __init__(self, toy: ToyRun, folder: Path) -> None:
        self.toy, self.folder = toy, folder
        run_oof(toy.index, folder / "oof", **toy.lists("fold_predictions"))
        self.tests, self.fits = toy.lists("test_predictions"), toy.lists("fit")
        run_stacking(
            folder / "oof",
            toy.index,
            folder / "ensemble",
            folder / "ensemble_predictions",
            folder / "ranking",
            **self.tests,
            params=StackingParams(combiners=("meta_ridge",), draws=1000),
        )

    def inputs(self) -> dict[str, Path]:
        made = {name: self.folder / name for name in ("oof", "ensemble_predictions", "ranking")}
        given = ("index", "test_labels", "data_report", "regime_report")
        return {**made, **{name: getattr(self.toy, name) for name in given}}

    def report(self, out: Path, **other: Any) -> dict[str, Any]:
        arguments = {
            **self.inputs(),
            **{n: out / n for n in OUTPUTS},
            **self.tests,
            **self.fits,
            "params": PARAMS,
        }
        self.summary = run(**{**arguments, **other})
        return dict(read_json(out / "report" / "report.json"))


MODELS = {"xgboost": 0.9, "lightgbm": 0.6, "catboost": 0.5, "lstm": 0.5}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("judged")
    toy = ToyRun(folder / "toy", models=MODELS, broken=["catboost"], rows=24_000, stride=4, horizons=(10, 20))
    return Judged(toy, folder)


@pytest.fixture(scope="module")
def out(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    judged.report(folder)
    return folder


@pytest.fixture(scope="module")
def document(out: Path) -> dict[str, Any]:
    return dict(read_json(out / "report" / "report.json"))


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report" / "report.html").read_text(encoding="utf-8")


def scored(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in document["leaderboard"] if row["status"] == "ok"]


def test_the_leaderboard_holds_every_model_at_every_horizon_best_first(document: dict[str, Any]) -> None:
    for h in (10, 20):
        rows = [row for row in scored(document) if row["horizon"] == h]
        assert sorted(row["model"] for row in rows) == ["lightgbm", "lstm", "meta_ridge", "xgboost"]
        assert [row["log_loss"] for row in rows] == sorted(row["log_loss"] for row in rows)


def test_a_row_agrees_with_the_loss_counted_by_hand(judged: Judged, document: dict[str, Any]) -> None:
    toy, label = judged.toy, judged.toy.truth[20]["label"]
    rows = toy.job("lstm", 20, "test_predictions").row  # the model with the fewest rows
    p = toy.predict("xgboost", 20)[rows]
    prior = class_frequencies(toy.content.label[20][toy.content.label[20] >= 0])
    row = next(r for r in scored(document) if (r["horizon"], r["model"]) == (20, "xgboost"))
    assert row["n"] == len(rows)
    assert row["log_loss"] == pytest.approx(-np.log(p[np.arange(len(rows)), label[rows]]).mean())
    assert row["prior_log_loss"] == pytest.approx(-np.log(prior[label[rows]]).mean())
    assert row["accuracy"] == pytest.approx((p.argmax(axis=1) == label[rows]).mean())


def test_models_with_skill_beat_the_prior_and_trade_with_profit(document: dict[str, Any]) -> None:
    for row in scored(document):
        assert row["gain_low"] > 0, row
        assert row["net_return"] > 0
        assert row["sharpe_low"] < row["sharpe"] < row["sharpe_high"]


def test_returns_are_annualised_by_all_sessions_of_the_test(judged: Judged, document: dict[str, Any]) -> None:
    toy, details = judged.toy, document["horizons"]["20"]
    assert details["sessions"] == len(np.unique(toy.session[toy.content.rows(20, REFIT, HELD_OUT)])) > 3
    assert details["sessions_per_year"] == pytest.approx(5 * 365.25 / 7)
    for row in scored(document):
        assert row["trades"] == pytest.approx(row["trades_per_session"] * details["sessions"])


def test_the_headline_models_are_chosen_on_development_rows(judged: Judged, document: dict[str, Any]) -> None:
    ranked = read_json(judged.folder / "ranking")["rows"]
    for h in ("10", "20"):
        base = [r["model"] for r in ranked if r["horizon"] == int(h) and r["family"] != "meta"]
        assert document["horizons"][h]["best_base"] == base[0]
        assert document["horizons"][h]["ensemble"] == "meta_ridge"


def test_baselines_stand_beside_the_models(document: dict[str, Any]) -> None:
    rows = {r["model"]: r for r in document["baselines"] if r["horizon"] == 20}
    assert list(rows) == ["always_flat", "always_long", "prior", "shuffled_labels"]
    assert rows["always_flat"]["trades"] == rows["always_flat"]["net_return"] == 0
    assert rows["always_long"]["trades"] > 100
    ensemble = next(r for r in scored(document) if (r["horizon"], r["model"]) == (20, "meta_ridge"))
    shuffled = rows["shuffled_labels"]
    assert shuffled["log_loss_low"] > rows["prior"]["log_loss"] > ensemble["log_loss"]
    assert shuffled["net_return_high"] < ensemble["net_return"]


def test_a_failed_model_is_listed_with_its_error(document: dict[str, Any], page: str, out: Path) -> None:
    failed = [row for row in document["leaderboard"] if row["status"] == "failed"]
    assert [(row["horizon"], row["model"]) for row in failed] == [(10, "catboost"), (20, "catboost")]
    assert document["failed"][0]["error"]["type"] == "MemoryError"
    assert "the fit needs 9.1 GiB" in page
    assert "the fit needs 9.1 GiB" in (out / "leaderboard").read_text()


def test_trials_are_counted(document: dict[str, Any], page: str) -> None:
    trials = document["trials"]
    assert (trials["models"], trials["horizons"]) == (4, 2)
    searched = 2 * 30  # settings of lightgbm that tuning tried and discarded, at two horizons
    assert (trials["trials"], trials["discarded_by_tuning"]) == (8 + searched, searched)
    of_68 = expected_best(68) * trials["sharpe_standard_error"]
    assert trials["expected_best_sharpe_without_skill"] == pytest.approx(of_68)
    assert trials["expected_above_zero_95_by_luck"] == pytest.approx(0.025 * 8)
    assert trials["expected_best_sharpe_without_skill"] > trials["sharpe_standard_error"]
    assert "68 (4 models, 2 horizons, 60 settings discarded by tuning)" in page


def test_facts_and_inputs_are_stated(judged: Judged, document: dict[str, Any], page: str) -> None:
    assert document["facts"]["instrument"]["symbol"] == "TOY"
    assert document["facts"]["bars"] == 24_000
    assert document["inputs"]["test_labels"] == sha256(judged.toy.test_labels)
    for name, path in judged.inputs().items():
        assert document["inputs"][name] == sha256(path)
        assert sha256(path) in page


def test_calibration_confusion_and_balance_cover_all_rows(document: dict[str, Any]) -> None:
    details = document["horizons"]["20"]
    assert np.sum(details["confusion"]) == details["rows"]
    assert sum(details["class_balance"]["test"][c] for c in ("short", "flat", "long")) == pytest.approx(1)
    assert len(details["calibration"]["long"]["stated"]) == PARAMS.calibration_bins


def test_the_equity_curve_ends_at_the_net_return(document: dict[str, Any]) -> None:
    row = next(r for r in scored(document) if (r["horizon"], r["model"]) == (20, "meta_ridge"))
    curve = document["horizons"]["20"]["equity"]["meta_ridge"]
    assert curve["net_return"][0] == 0
    assert curve["net_return"][-1] == pytest.approx(row["net_return"])
    assert len(curve["net_return"]) <= 400


class Balanced(HTMLParser):
    """Fails on a tag that is closed in the wrong place; collects everything that would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.loads += [
            f"{k}={v}" for k, v in attrs if k in ("src", "srcset", "data") or (k == "href" and v[0] != "#")
        ]
        if tag in ("script", "link", "img", "iframe"):
            self.loads.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.loads == []
    assert "url(" not in page
    assert "http" not in page


def anchors(page: str) -> Iterator[str]:
    yield from re.findall(r'href="#([^"]+)"', page)


def test_the_page_says_how_the_folds_of_the_development_rows_were_made(page: str, tmp_path: Path) -> None:
    toy = ToyRun(tmp_path / "toy", scheme="walk_forward")
    Judged(toy, tmp_path).report(tmp_path)
    walked = (tmp_path / "html").read_text(encoding="utf-8")
    assert ("K-fold on development rows" in page, "Walk-forward on development rows" in page) == (True, False)
    assert ("K-fold on" in walked, "Walk-forward on development rows" in walked) == (False, True)
    assert ("after the rows they predict" in page, "after the rows" in walked) == (True, False)


def test_every_link_of_the_page_has_its_target(page: str) -> None:
    assert {"h10", "h20", "development", "resources"} <= set(anchors(page))
    for anchor in anchors(page):
        assert f'id="{anchor}"' in page


def test_the_page_compares_regimes_with_and_without_the_own_bar(document: dict[str, Any], page: str) -> None:
    told = document["regimes"]["hmm_state"]
    assert (told["included"], told["excluded"], told["differs"]) == (
        [0.5, 0.3, 0.2],
        [0.45, 0.3, 0.25],
        0.0625,
    )
    card = page[page.index("Hidden Markov model") :]
    numbers = re.findall(r'<td class="number">([^<]*)</td>', card)[:4]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in numbers] == [
        "50.00 %",
        "45.00 %",
        "+5.00 %",
        "12.0",
    ]
    assert re.search(r"6\.25\s% ?</b> of 800 rows differ", card)


def test_the_page_says_what_every_family_reads(judged: Judged, document: dict[str, Any], page: str) -> None:
    families = {row["family"]: row for row in document["model_inputs"]["families"]}
    assert families["boosting"]["sets"] == {"boosting_optimal": 200}
    jobs = 2 * sum(FAMILY[model] == "boosting" for model in judged.toy.models)
    assert families["boosting"]["jobs"] == jobs > 2
    section = page.partition('id="reading"')[2].partition("<h2")[0]
    assert "boosting_optimal (200)" in section
    assert f"{3.5 * jobs:.1f}\N{NO-BREAK SPACE}MiB" in section


def test_the_page_compares_a_selection_of_columns_with_all_of_them(
    document: dict[str, Any], page: str
) -> None:
    rows = document["model_inputs"]["selection"]
    assert [(row["horizon"], row["model"]) for row in rows] == [(10, "lightgbm"), (20, "lightgbm")]
    assert rows[0]["chosen"][0] == {"column": "hvol_20", "folds": 3}
    assert rows[0]["refit"] == ["hvol_20", "log_return_5"]
    section = page.partition('id="reading"')[2].partition("<h2")[0]
    for text in (
        "permutation importance",
        "2 of 200",
        "0.66",
        "1.0412",
        "1.0437",
        "+0.0025",
        "0.0011 … 0.0039",
    ):
        assert text in section
    assert "<code>hvol_20</code> 3, <code>&lt;rsi&gt;</code> 2, <code>log_return_5</code> 1" in section


def test_the_page_leaves_room_for_time_and_memory_once(page: str, out: Path) -> None:
    assert page.count(RESOURCES) == 1
    assert (out / "html").read_text(encoding="utf-8") == page


def test_names_from_outside_cannot_become_markup(judged: Judged, tmp_path: Path) -> None:
    facts = read_json(judged.toy.data_report)
    facts["instrument"] = {**facts["instrument"], "symbol": "<script>x</script>", "description": "a & b"}
    write_json(tmp_path / "facts", facts)
    judged.report(tmp_path, data_report=tmp_path / "facts")
    page = (tmp_path / "html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "a &amp; b" in page


def test_no_number_is_written_as_nan_or_none(page: str, out: Path) -> None:
    text = re.sub(r"<[^>]*>", " ", page) + (out / "leaderboard").read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_the_same_seed_gives_the_same_bytes(judged: Judged, out: Path, tmp_path: Path) -> None:
    judged.report(tmp_path)
    for name in OUTPUTS:
        assert sha256(tmp_path / name) == sha256(out / name)


def test_the_order_of_the_lists_changes_no_byte(judged: Judged, out: Path, tmp_path: Path) -> None:
    turned = {k: v[::-1] for k, v in {**judged.tests, **judged.fits}.items()}
    judged.report(tmp_path, **turned)
    assert sha256(tmp_path / "report") == sha256(out / "report")


def test_other_outcomes_change_the_report_and_nothing_that_was_chosen(
    judged: Judged, document: dict[str, Any], tmp_path: Path
) -> None:
    toy = judged.toy
    label = toy.truth[20]["label"]
    other = toy.write_test_labels(tmp_path / "other", label=(label + 1) % 3)
    changed = judged.report(tmp_path, test_labels=other)
    for h in ("10", "20"):
        for name in ("ensemble", "best_base", "prior", "payoff"):
            assert changed["horizons"][h][name] == document["horizons"][h][name]
    assert changed["development_ranking"] == document["development_ranking"]
    assert scored(changed)[0]["log_loss"] != scored(document)[0]["log_loss"]


# the ledger


def test_every_opening_is_written_down_and_counted(judged: Judged, out: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "new folder" / "ledger.jsonl"
    for opening in (1, 2):
        judged.report(tmp_path / str(opening), ledger=str(ledger))
        assert judged.summary.metrics["openings_of_this_test"] == opening
        assert f"opening {opening} of this test segment" in judged.summary.line
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [sorted(line) for line in lines] == [["horizons", "models", "test_labels_sha256", "time"]] * 2
    assert lines[0]["test_labels_sha256"] == sha256(judged.toy.test_labels)
    assert lines[0]["models"] == ["lightgbm", "lstm", "meta_ridge", "xgboost"]
    assert sha256(tmp_path / "2" / "report") == sha256(out / "report")  # the artifact does not know of it


class WriteOnce(MemoryFileSystem):
    """An object store: a whole object at a time, no appending."""

    protocol = "write-once"
    store: ClassVar[dict[str, Any]] = {}

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if "a" in mode:
            raise NotImplementedError
        return super()._open(path, mode, **kwargs)


def test_a_ledger_on_a_store_that_cannot_append_keeps_its_lines(judged: Judged, tmp_path: Path) -> None:
    fsspec.register_implementation("write-once", WriteOnce, clobber=True)
    for opening in (1, 2):
        judged.report(tmp_path / str(opening), ledger="write-once://openings/ledger.jsonl")
        assert judged.summary.metrics["openings_of_this_test"] == opening


def test_without_a_ledger_entry_the_test_stays_closed(judged: Judged, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"report\.ledger .* cannot be written, so the test stays closed"):
        judged.report(tmp_path, ledger=str(tmp_path / "file" / "ledger.jsonl"))
    assert not any((tmp_path / name).exists() for name in OUTPUTS)


# what does not belong together


def test_an_artifact_of_another_run_is_refused(judged: Judged, tmp_path: Path) -> None:
    other = Judged(ToyRun(tmp_path / "toy", models=MODELS, seed=1), tmp_path)
    for name, message in (
        ("index", "was made with another index artifact"),
        ("oof", "was made with another oof artifact"),
        ("ensemble_predictions", "was made with another index artifact"),
        ("test_labels", "is not a test row of this index|holds no outcome at horizon"),
    ):
        wrong = {name: other.inputs()[name]}
        with pytest.raises(InputError, match=message):
            judged.report(tmp_path / name, **wrong)
        assert not (tmp_path / name / "report").exists()


def test_a_development_row_in_the_test_labels_is_refused(judged: Judged, tmp_path: Path) -> None:
    frame, facts = read_table(judged.toy.test_labels, "test_labels")
    row = judged.toy.content.rows(10, 0, HELD_OUT)[7]
    frame.loc[3, ["row", "bar"]] = row
    frame.loc[3, "timestamp"] = timestamps(judged.toy.minute[[row]])[0]
    write_table(tmp_path / "planted", frame, facts)
    with pytest.raises(InputError, match=f"row {row} is not a test row of this index"):
        judged.report(tmp_path, test_labels=tmp_path / "planted")


@pytest.mark.parametrize("name", ["ranking", "data_report", "regime_report"])
def test_another_document_in_its_place_is_refused(judged: Judged, name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "wrong", provenance("something else", "report", {}, {}))
    with pytest.raises(InputError, match=f"is not the artifact '{name}'"):
        judged.report(tmp_path, **{name: tmp_path / "wrong"})
