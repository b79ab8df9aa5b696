"""The resolved configuration: defaults, presets, overrides, and what each typing mistake is told."""

from pathlib import Path

import pytest
import yaml

from mlfactory.common.errors import InputError
from mlfactory.models import registry
from mlfactory_pipelines import plan

EVERY_PRESET = pytest.mark.parametrize("preset", plan.presets())


@EVERY_PRESET
def test_a_preset_resolves_and_survives_being_saved(preset: str, tmp_path: Path) -> None:
    resolved = plan.resolve(plan.read_tree(preset))
    saved = tmp_path / "config.yaml"
    saved.write_text(plan.to_yaml(resolved), encoding="utf-8")
    assert plan.resolve(plan.read_tree(str(saved))) == resolved


@EVERY_PRESET
def test_a_preset_overrides_defaults_and_repeats_none(preset: str) -> None:
    tree = plan.read_tree(preset)
    defaults = plan.resolve({"models": tree.get("models", [])}).tree()
    repeated = [path for path, value in leaves(tree) if path[0] != "models" and value == at(defaults, path)]
    assert repeated == []


@EVERY_PRESET
def test_a_preset_says_what_it_costs(preset: str) -> None:
    comments = "".join(line for line in preset_text(preset).splitlines() if line.startswith("#"))
    for word in ("bars", "rows", "folds", "model"):
        assert word in comments


def test_the_presets_are_those_that_the_readme_names() -> None:
    assert plan.presets() == ["default", "full", "gpu", "smoke"]


@pytest.mark.parametrize("preset", ["default", "full", "gpu"])
def test_a_preset_but_smoke_trains_every_model_that_exists(preset: str) -> None:
    assert list(plan.resolve(plan.read_tree(preset)).top.models) == plan.trainable()


@pytest.mark.parametrize("preset", ["default", "full", "gpu"])
def test_a_preset_but_smoke_fits_every_combiner_that_exists(preset: str) -> None:
    assert plan.resolve(plan.read_tree(preset)).sections["stacking"]["combiners"] == registry.combiners()


def test_smoke_trains_one_model_of_every_family_in_two_folds() -> None:
    smoke = plan.resolve(plan.read_tree("smoke"))
    names = [*smoke.top.models, *smoke.sections["stacking"]["combiners"]]
    assert sorted(registry.family_of(name) for name in names) == sorted(registry.FAMILIES)
    assert smoke.sections["dataset"]["n_folds"] == 2


def test_jobs_are_models_times_horizons_and_each_is_unique() -> None:
    tree = {"models": ["lightgbm", "logistic", "xgboost"], "labels": {"horizons": [5, 20]}}
    jobs = plan.resolve(tree).jobs()
    found = {family: [(job["model"], job["horizon"]) for job in of] for family, of in jobs.items()}
    assert found == {
        "boosting": [("lightgbm", 5), ("lightgbm", 20), ("xgboost", 5), ("xgboost", 20)],
        "classical": [("logistic", 5), ("logistic", 20)],
    }


def test_no_job_key_hides_behind_an_attribute_of_the_loop_item() -> None:
    jobs = plan.resolve({}).jobs()
    keys = {key for of in jobs.values() for job in of for key in job}
    assert keys == {"model", "horizon", "params"}


def test_a_job_holds_every_hyper_parameter_but_the_seed() -> None:
    [[job]] = plan.resolve({"models": ["logistic"], "model": {"logistic": {"C": 0.5}}}).jobs().values()
    assert job["params"] == {**registry.models()["logistic"].defaults, "C": 0.5}


# What a model reads, by family or by model.


MINE = {"dataset": {"feature_sets": {"mine": ["group:returns"]}}}


def test_a_model_reads_what_is_stated_for_it_and_else_what_is_stated_for_its_family() -> None:
    tree = {
        **MINE,
        "models": ["lightgbm", "xgboost", "lstm"],
        "reading": {
            "boosting": {"feature_set": "mine", "selection": {"method": "permutation", "columns": 20}},
            "xgboost": {"scaling": "standard", "selection": {"columns": 5}},
        },
    }
    resolved = plan.resolve(tree)
    read = {job["model"]: job.get("reading") for of in resolved.jobs().values() for job in of}
    shared = {"feature_set": "mine", "selection": {"method": "permutation", "columns": 20}}
    assert read["lightgbm"] == shared
    assert read["xgboost"] == {
        **shared,
        "scaling": "standard",
        "selection": {"method": "permutation", "columns": 5},
    }
    assert read["lstm"] is None
    assert resolved.sections["dataset"]["extra_sets"] == {"boosting_optimal": ["mine"]}


def test_a_reading_survives_being_saved(tmp_path: Path) -> None:
    tree = {**MINE, "reading": {"lstm": "mine", "classical": {"scaling": "robust"}}}
    resolved = plan.resolve(tree)
    saved = tmp_path / "config.yaml"
    saved.write_text(plan.to_yaml(resolved), encoding="utf-8")
    assert plan.resolve(plan.read_tree(str(saved))) == resolved
    assert resolved.sections["dataset"]["extra_sets"] == {"neural_optimal": ["mine"]}
    assert resolved.tree()["reading"]["lstm"] == {"feature_set": "mine"}


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (
            {"lihgtgbm": {"scaling": "none"}},
            "reading.lihgtgbm is neither a family nor a model .*known: boosting",
        ),
        ({"lstm": {"scale": "none"}}, "reading.lstm.scale is not a parameter; known: feature_set, scaling"),
        ({"lstm": {"scaling": "minmax"}}, "reading.lstm.scaling"),
        ({"lstm": {"selection": {"method": "x"}}}, "reading.lstm.selection.method is 'x'"),
        (
            {"lstm": {"feature_set": "yours"}},
            "'yours', which dataset.feature_sets does not define; known: mine, boo",
        ),
        ({"meta_ridge": {}}, "reading.meta_ridge"),
        (3, "reading is 3"),
    ],
)
def test_a_reading_that_means_nothing_is_told(reading: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan.resolve({**MINE, "reading": reading})


def test_a_model_named_twice_is_trained_once() -> None:
    assert plan.resolve({"models": ["logistic", "logistic"]}).top.models == ("logistic",)


def test_nothing_in_a_plan_is_null_because_kfp_constants_cannot_be() -> None:
    resolved = plan.resolve({}).tree()
    assert [path for path, value in leaves(resolved) if value is None] == []


def test_set_reads_its_value_as_yaml_and_reaches_nested_keys() -> None:
    tree = plan.override({"ingest": {"synthetic": {"seed": 4}}}, "ingest.synthetic.bars=5000")
    tree = plan.override(tree, "labels.horizons=[5, 20]")
    assert tree == {
        "ingest": {"synthetic": {"seed": 4, "bars": 5000}},
        "labels": {"horizons": [5, 20]},
    }


def test_set_does_not_change_the_tree_it_was_given() -> None:
    tree = {"labels": {"horizons": [20]}}
    plan.override(tree, "labels.horizons=[5]")
    assert tree == {"labels": {"horizons": [20]}}


@pytest.mark.parametrize("assignment", ["labels.horizons", "=3", "labels.=3", ".horizons=3", "labels.x=[1"])
def test_a_malformed_set_is_quoted_back(assignment: str) -> None:
    with pytest.raises(InputError, match="--set"):
        plan.override({}, assignment)


@pytest.mark.parametrize(
    ("tree", "known"),
    [
        ({"label": {}}, "labels"),
        ({"labels": {"horizon": [5]}}, "horizons"),
        ({"ingest": {"synthetic": {"bar": 5}}}, "ingest.synthetic.bar"),
        ({"models": ["lightgmb"]}, "lightgbm"),
        ({"models": ["meta_ridge"]}, "lightgbm"),
        ({"model": {"lightgmb": {}}}, "lightgbm"),
        ({"model": {"logistic": {"c": 1}}}, "C, max_iterations"),
        ({"model": {"logistic": {"seed": 1}}}, "C, max_iterations"),
        ({"model": {"logistic": {"C": "much"}}}, "model.logistic.C is 'much'"),
        ({"labels": {"horizons": "many"}}, "labels.horizons is 'many'"),
        ({"labels": [1]}, "labels is"),
        ({"seed": "x"}, "seed is 'x'"),
    ],
)
def test_what_is_not_known_is_answered_with_what_is(tree: plan.Tree, known: str) -> None:
    with pytest.raises(InputError) as error:
        plan.resolve(tree)
    assert known in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_preset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="default, full, gpu, smoke"):
        plan.read_tree("huge")


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "word"])
def test_a_preset_file_that_is_no_mapping_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"own\.yaml is"):
        plan.read_tree(str(path))


def preset_text(name: str) -> str:
    return (plan.PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def leaves(tree: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    if not isinstance(tree, dict):
        return [(path, tree)]
    return [leaf for key, value in tree.items() for leaf in leaves(value, (*path, key))]


def at(tree: object, path: tuple[str, ...]) -> object:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def test_the_printed_configuration_has_one_line_per_section_and_model() -> None:
    resolved = plan.resolve({"models": ["logistic", "lightgbm"]})
    text = plan.to_yaml(resolved)
    assert len(text.splitlines()) == len(resolved.tree()) + 2
    assert yaml.safe_load(text) == resolved.tree()


def test_the_generator_draws_with_the_seed_of_the_run_unless_it_has_its_own() -> None:
    assert plan.resolve({"seed": 3}).sections["ingest"]["synthetic"]["seed"] == 3
    own = {"seed": 3, "ingest": {"synthetic": {"seed": 4}}}
    assert plan.resolve(own).sections["ingest"]["synthetic"]["seed"] == 4


def test_hyper_parameters_of_combiners_are_the_stacking_stages() -> None:
    made = plan.resolve({"model": {"meta_mlp": {"units": [8]}}})
    assert made.sections["stacking"]["settings"] == {"meta_mlp": {"units": [8]}}
    assert "meta_mlp" not in made.hyper
    assert plan.resolve(made.tree()) == made
    for tree in ({"model": {"voting": {"share": 1}}}, {"stacking": {"settings": {"voting": {"share": 1}}}}):
        with pytest.raises(InputError, match=r"model\.voting\.share is not a parameter; known: shares"):
            plan.resolve(tree)
    with pytest.raises(InputError, match=r"stacking\.settings: 'lstm' is not a model that it can name"):
        plan.resolve({"stacking": {"settings": {"lstm": {}}}})


def test_only_models_that_declare_a_search_are_tuned() -> None:
    jobs = plan.resolve({"models": ["lightgbm", "logistic"], "tune": 20}).jobs()
    assert [job["tune"] for job in jobs["boosting"]] == [20]
    assert "tune" not in jobs["classical"][0]
    assert "tune" not in plan.resolve({"models": ["lightgbm"]}).jobs()["boosting"][0]
    with pytest.raises(
        InputError, match=r"tune is 5: none of logistic declares .*: catboost, lightgbm, xgboost"
    ):
        plan.resolve({"models": ["logistic"], "tune": 5})
