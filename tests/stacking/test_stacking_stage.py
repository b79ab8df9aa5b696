import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_run import ToyRun

from mlfactory.common.artifacts import read_json, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.index import read_index
from mlfactory.common.metrics import class_frequencies, mean_per_row, row_log_loss
from mlfactory.common.pools import read_pool
from mlfactory.common.splits import HELD_OUT, INNER, REFIT, TRAIN
from mlfactory.models.registry import combiners, load_model
from mlfactory.oof.stage import run as run_oof
from mlfactory.stacking.combining import combine
from mlfactory.stacking.nested import nested, stack
from mlfactory.stacking.params import Params
from mlfactory.stacking.stage import run

PARAMS = Params(combiners=("meta_ridge",), draws=1000)
OUTPUTS = ("ensemble", "ensemble_predictions", "ranking")


def stacked(toy: ToyRun, out: Path, seed: int = 0, params: Params = PARAMS) -> Path:
    run_oof(toy.index, out / "oof", **toy.lists("fold_predictions"))
    paths = {name: out / name for name in OUTPUTS}
    run(out / "oof", toy.index, **paths, **toy.lists("test_predictions"), seed=seed, params=params)
    return out


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    return ToyRun(tmp_path_factory.mktemp("toy"), horizons=(10, 20))


@pytest.fixture(scope="module")
def made(toy: ToyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stacked(toy, tmp_path_factory.mktemp("stacked"))


def test_tabular_and_sequence_models_meet_on_the_rows_that_all_predict(toy: ToyRun, made: Path) -> None:
    pool, _ = read_pool(made / "ensemble_predictions", "ensemble_predictions")
    lstm = toy.job("lstm", 20, "fold_predictions")
    ours = next(p for p in pool if p.horizon == 20 and p.model == "meta_ridge")
    assert ours.row[ours.fold >= 0].tolist() == lstm.row.tolist()
    losses = {(r["horizon"], r["model"]): r for r in read_json(made / "ranking")["loss_of_rows"]}
    assert losses[20, "xgboost"]["lost"] == 5
    assert losses[20, "lstm"]["lost"] == 0
    assert losses[20, "lstm"]["rows"] == len(lstm)
    assert losses[20, "lstm"]["test_lost"] == 0


def test_the_test_segment_is_predicted_by_the_final_combiner_as_saved(toy: ToyRun, made: Path) -> None:
    pool, _ = read_pool(made / "ensemble_predictions", "ensemble_predictions")
    ours = next(p for p in pool if p.horizon == 20 and p.fold[0] == REFIT)
    contract = read_json(made / "ensemble" / "contract.json")["horizons"]["20"]
    assert contract["models"] == ["lightgbm", "lstm", "xgboost"]
    assert contract["columns"][:4] == [
        "lightgbm.p_short",
        "lightgbm.p_flat",
        "lightgbm.p_long",
        "lstm.p_short",
    ]
    combiner = load_model("meta_ridge").load(made / "ensemble" / contract["combiners"]["meta_ridge"])
    tables = [toy.job(m, 20, "test_predictions") for m in contract["models"]]
    X = np.hstack([p.probability[np.isin(p.row, ours.row)] for p in tables])
    assert np.array_equal(combiner.predict_proba(X), ours.probability)


@pytest.mark.parametrize("horizon", [10, 20])
def test_the_ranking_holds_every_model_and_combiner_best_first(toy: ToyRun, made: Path, horizon: int) -> None:
    rows = [r for r in read_json(made / "ranking")["rows"] if r["horizon"] == horizon]
    assert sorted(r["model"] for r in rows) == ["lightgbm", "lstm", "meta_ridge", "xgboost"]
    assert [r["log_loss"] for r in rows] == sorted(r["log_loss"] for r in rows)
    assert {r["model"]: r["family"] for r in rows}["meta_ridge"] == "meta"
    for row in rows:
        assert row["gain_low_999"] < row["gain_low"] < row["gain"] < row["gain_high"] < row["gain_high_999"]
        assert row["gain"] == pytest.approx(row["prior_log_loss"] - row["log_loss"])


def test_a_ranking_row_agrees_with_the_loss_counted_by_hand(toy: ToyRun, made: Path) -> None:
    row = next(
        r for r in read_json(made / "ranking")["rows"] if (r["horizon"], r["model"]) == (20, "xgboost")
    )
    index = toy.content
    losses, priors = [], []
    for k in range(toy.folds):
        train = np.concatenate([index.rows(20, k, TRAIN), index.rows(20, k, INNER)])
        prior = class_frequencies(toy.truth[20]["label"][train])
        for i in index.rows(20, k, HELD_OUT):
            if i in toy.job("lstm", 20, "fold_predictions").row:
                label = toy.truth[20]["label"][i]
                losses.append(-np.log(toy.predict("xgboost", 20)[i, label]))
                priors.append(-np.log(prior[label]))
    assert row["n"] == len(losses)
    assert row["log_loss"] == pytest.approx(np.mean(losses))
    assert row["prior_log_loss"] == pytest.approx(np.mean(priors))


def test_skill_is_found_and_combined(made: Path) -> None:
    for row in read_json(made / "ranking")["rows"]:
        assert row["gain_low"] > 0, row
    rows = {r["model"]: r for r in read_json(made / "ranking")["rows"] if r["horizon"] == 20}
    assert rows["meta_ridge"]["log_loss"] <= min(rows["lstm"]["log_loss"], rows["lightgbm"]["log_loss"])


@pytest.mark.parametrize("seed", range(5))
def test_models_that_know_nothing_do_not_beat_the_prior(seed: int, tmp_path: Path) -> None:
    toy = ToyRun(tmp_path / "toy", models={"xgboost": 0.0, "lightgbm": 0.0, "lstm": 0.0}, seed=seed)
    for row in read_json(stacked(toy, tmp_path) / "ranking")["rows"]:
        assert row["gain_low_999"] <= 0, row


def test_garbage_in_held_out_labels_leaves_that_fold_s_predictions_unchanged(toy: ToyRun) -> None:
    """The combiner that predicts a fold never learned from the fold's own labels."""
    base = stack([toy.job(m, 20, "fold_predictions") for m in toy.models])

    def fit(X, y):
        return load_model("meta_ridge")().fit(X, y, np.ones(len(y))).predict_proba

    before, _ = nested(base, toy.content, fit)
    for k in range(toy.folds):
        label = toy.content.label[20].copy()
        held = toy.content.rows(20, k, HELD_OUT)
        label[held] = (label[held] + 1) % 3
        after, _ = nested(base, replace(toy.content, label={20: label}), fit)
        assert np.array_equal(before[base.fold == k], after[base.fold == k])
        assert not np.array_equal(before[base.fold != k], after[base.fold != k])


def test_a_fold_trained_on_rows_without_predictions_is_left_out(toy: ToyRun) -> None:
    """The first fold of a walk-forward trains on rows that no fold holds out."""
    base = stack([toy.job(m, 20, "fold_predictions") for m in toy.models])
    later = base.take(base.fold > 0)
    code = toy.content.code[20].copy()
    code[later.row, 1] = np.where(later.fold == 1, HELD_OUT, 0)
    probability, trained_on = nested(
        later, replace(toy.content, code={20: code}), lambda X, y: lambda Z: Z[:, :3]
    )
    assert trained_on[1] == 0
    assert np.isnan(probability[later.fold == 1]).all()
    assert np.isfinite(probability[later.fold == 2]).all()


def test_rows_of_a_walk_forward_that_no_combiner_predicts_are_counted_as_lost(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path / "toy", scheme="walk_forward")
    ranking = read_json(stacked(toy, tmp_path) / "ranking")
    ranked = {row["n"] for row in ranking["rows"]}
    first = len(toy.content.rows(20, 0, HELD_OUT))
    for row in ranking["loss_of_rows"]:
        assert {row["rows"]} == ranked
        assert row["rows"] + row["lost"] == len(toy.job(row["model"], 20, "fold_predictions"))
        assert row["lost"] >= first - 5 > 100


def test_the_same_seed_gives_the_same_bytes(toy: ToyRun, made: Path, tmp_path: Path) -> None:
    again = stacked(toy, tmp_path / "again")
    other = stacked(toy, tmp_path / "other", seed=1)
    for name in OUTPUTS:
        assert sha256(again / name) == sha256(made / name)
    assert sha256(other / "ranking") != sha256(made / "ranking")


def test_the_ranking_does_not_depend_on_test_predictions(toy: ToyRun, made: Path, tmp_path: Path) -> None:
    lists = {
        family: [
            toy.write_job(
                replace(p := toy.job(path.name.split("_h")[0], int(path.name.split("_h")[1].split(".")[0]),
                                     "test_predictions"), probability=p.probability[::-1]),
                "test_predictions",
                "reversed",
            )
            for path in paths
        ]
        for family, paths in toy.lists("test_predictions").items()
    }  # fmt: skip
    run(made / "oof", toy.index, **{n: tmp_path / n for n in OUTPUTS}, **lists, params=PARAMS)
    assert sha256(tmp_path / "ranking") == sha256(made / "ranking")
    assert sha256(tmp_path / "ensemble_predictions") != sha256(made / "ensemble_predictions")


def test_one_model_and_one_failed_model_still_make_an_ensemble(tmp_path: Path) -> None:
    toy = ToyRun(tmp_path / "toy", models={"xgboost": 0.5, "lstm": 0.5}, broken=["lstm"])
    ranking = json.loads((stacked(toy, tmp_path) / "ranking").read_text())
    assert sorted(r["model"] for r in ranking["rows"]) == ["meta_ridge", "xgboost"]
    assert ranking["failed"] == [{"model": "lstm", "family": "neural", "horizon": 20}]


def test_a_combiner_that_combines_nothing_is_refused(toy: ToyRun, made: Path, tmp_path: Path) -> None:
    outputs = {n: tmp_path / n for n in OUTPUTS}
    with pytest.raises(InputError, match="'logistic' is of the family 'classical' and combines nothing"):
        run(made / "oof", toy.index, **outputs, params=Params(combiners=("logistic",)))
    with pytest.raises(InputError, match=r"'meta_rigde' is not in the registry; known: .*meta_ridge"):
        run(made / "oof", toy.index, **outputs, params=Params(combiners=("meta_rigde",)))
    assert not any(path.exists() for path in outputs.values())


def test_missing_test_predictions_are_an_error(toy: ToyRun, made: Path, tmp_path: Path) -> None:
    lists = toy.lists("test_predictions")
    del lists["neural"]
    with pytest.raises(InputError, match=r"lstm, horizon .* has oof predictions but no test predictions"):
        run(made / "oof", toy.index, **{n: tmp_path / n for n in OUTPUTS}, **lists)


def test_test_predictions_of_development_rows_are_refused(toy: ToyRun, made: Path, tmp_path: Path) -> None:
    lists = toy.lists("test_predictions")
    p = toy.job("lstm", 20, "fold_predictions")
    planted = toy.write_job(replace(p, fold=np.full(len(p), REFIT)), "test_predictions", "planted")
    lists["neural"] = [path for path in lists["neural"] if "_h20" not in path.name] + [planted]
    with pytest.raises(InputError, match="lstm, horizon 20: test row 10 is not a row of the locked test"):
        run(made / "oof", toy.index, **{n: tmp_path / n for n in OUTPUTS}, **lists)


def test_models_without_a_common_row_are_an_error_with_counts(toy: ToyRun) -> None:
    a, b = (toy.job(m, 20, "fold_predictions") for m in ("lstm", "xgboost"))
    first = replace(a, row=a.row[:9], minute=a.minute[:9], fold=a.fold[:9], probability=a.probability[:9])
    last = replace(b, row=b.row[-9:], minute=b.minute[-9:], fold=b.fold[-9:], probability=b.probability[-9:])
    with pytest.raises(
        InputError, match="no row is predicted by all models; rows of each: lstm 9, xgboost 9"
    ):
        stack([first, last])


def test_the_combiner_is_told_how_far_labels_reach(toy: ToyRun, made: Path) -> None:
    combiner = load_model("meta_ridge").load(made / "ensemble" / "meta_ridge_h20")
    development = stack([toy.job(m, 20, "fold_predictions") for m in toy.models]).row
    longest = max(int((development <= toy.ends(20)[r]).sum() - i) for i, r in enumerate(development))
    assert combiner.gap == longest


def test_without_a_choice_every_combiner_is_fitted_saved_and_ranked(toy: ToyRun, tmp_path: Path) -> None:
    made = stacked(toy, tmp_path, params=Params(draws=1000))
    ranked = {row["model"] for row in read_json(made / "ranking")["rows"] if row["horizon"] == 20}
    assert ranked == {*toy.models, *combiners()}
    contract = read_json(made / "ensemble" / "contract.json")["horizons"]["20"]
    for name, folder in contract["combiners"].items():
        assert load_model(name).load(made / "ensemble" / folder).features_ == 3 * len(toy.models)


def test_hyper_parameters_of_a_combiner_reach_its_fits(toy: ToyRun, tmp_path: Path) -> None:
    pool = [toy.job(m, 20, "fold_predictions") for m in toy.models]
    test = [toy.job(m, 20, "test_predictions") for m in toy.models]
    index = read_index(toy.index)
    given = {"alpha": 3.0, "gap": 10_000}
    combined = combine("meta_ridge", stack(pool), stack(test), index, 0, given)
    assert (combined.model.alpha, combined.model.gap) == (3.0, 10_000)
    with pytest.raises(InputError, match=r"model\.meta_ridge"):
        combine("meta_ridge", stack(pool), stack(test), index, 0, {"alpha": -1.0})


def test_loss_per_row_is_what_the_ranking_averages() -> None:
    assert row_log_loss(np.array([[0.2, 0.3, 0.5]]), np.array([1]))[0] == pytest.approx(-np.log(0.3))


# Folds that hold a row out more than once.


@pytest.fixture(scope="module")
def often(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    return ToyRun(tmp_path_factory.mktemp("often"), scheme="combinatorial", folds=6)


def ridge(X, y):
    return load_model("meta_ridge")().fit(X, y, np.ones(len(y))).predict_proba


def test_a_combiner_learns_from_and_predicts_one_path(often: ToyRun) -> None:
    jobs = [often.job(m, 20, "fold_predictions") for m in sorted(often.models)]
    rng = np.random.default_rng(0)
    jobs = [replace(p, probability=rng.dirichlet(np.ones(3), len(p))) for p in jobs]
    base, index = stack(jobs), often.content
    assert len(base) == 3 * len(np.unique(base.row))
    found, trained_on = nested(base, index, ridge)
    path = index.path(20, base.row, base.fold)
    for k in range(6):
        for number in np.unique(path[base.fold == k]):
            of_path = path == number
            train = of_path & np.isin(index.code[20][base.row, k], (TRAIN, INNER))
            held = of_path & (base.fold == k)
            assert len(np.unique(base.row[train])) == train.sum() == trained_on[k]
            expected = ridge(base.features[train], index.label[20][base.row[train]])(base.features[held])
            np.testing.assert_array_equal(found[held], expected)


def test_the_served_combiner_learns_from_every_row_once(often: ToyRun) -> None:
    base, test = (
        stack([often.job(m, 20, k) for m in often.models]) for k in ("fold_predictions", "test_predictions")
    )
    combined = combine("meta_ridge", base, test, often.content, 0, {})
    first = base.take(often.content.path(20, base.row, base.fold) == 0)
    assert first.row.tolist() == np.unique(base.row).tolist()
    label = often.content.label[20][first.row]
    same = load_model("meta_ridge")(gap=combined.model.gap).fit(first.features, label, np.ones(len(label)))
    np.testing.assert_array_equal(combined.test.probability, same.predict_proba(test.features))


def test_garbage_in_the_labels_of_held_out_blocks_leaves_that_fold_s_predictions_unchanged(
    often: ToyRun,
) -> None:
    base = stack([often.job(m, 20, "fold_predictions") for m in often.models])
    before, _ = nested(base, often.content, ridge)
    for k in range(6):
        label = often.content.label[20].copy()
        held = often.content.rows(20, k, HELD_OUT)
        label[held] = (label[held] + 1) % 3
        after, _ = nested(base, replace(often.content, label={20: label}), ridge)
        assert np.array_equal(before[base.fold == k], after[base.fold == k])
        assert not np.array_equal(before[base.fold != k], after[base.fold != k])


def test_the_ranking_scores_every_row_once_by_the_mean_of_its_losses(often: ToyRun, tmp_path: Path) -> None:
    document = read_json(stacked(often, tmp_path) / "ranking")
    pool, _ = read_pool(tmp_path / "ensemble_predictions", "ensemble_predictions")
    ours = next(p for p in pool if p.fold[0] >= 0)
    base = stack([often.job(m, 20, "fold_predictions") for m in often.models])
    assert ours.row.tolist() == base.row.tolist()
    assert ours.fold.tolist() == base.fold.tolist()
    rows = {row["model"]: row for row in document["rows"]}
    assert {r["n"] for r in rows.values()} == {len(np.unique(ours.row))}
    losses = row_log_loss(ours.probability, often.content.label[20][ours.row])
    assert rows["meta_ridge"]["log_loss"] == pytest.approx(losses.mean())
    assert {loss["model"]: loss["lost"] for loss in document["loss_of_rows"]} == {
        "lightgbm": 5,
        "lstm": 0,
        "xgboost": 5,
    }


def test_models_whose_rows_are_in_other_folds_are_refused(often: ToyRun) -> None:
    one, other = (often.job(m, 20, "fold_predictions") for m in ("lightgbm", "xgboost"))
    keep = np.arange(len(other)) != 40
    parts = ("row", "minute", "fold", "probability")
    other = replace(other, **{name: getattr(other, name)[keep] for name in parts})
    with pytest.raises(InputError, match=f"xgboost, horizon 20: row {one.row[40]} is in another fold"):
        stack([one, other])


def test_entries_of_a_row_are_averaged() -> None:
    values = np.array([[1.0, 3.0], [3.0, 5.0], [7.0, 9.0]])
    assert mean_per_row(np.array([4, 4, 6]), values).tolist() == [[2, 4], [7, 9]]
    assert mean_per_row(np.array([4, 5, 6]), values) is values
