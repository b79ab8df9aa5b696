"""The face of the stage: who may open the locked test, and what KFP sees of the report."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, List  # noqa: UP035  (KFP reads it)

import pytest
import yaml
from kfp import compiler, dsl, local
from kfp.dsl import Artifact, Dataset, Input, Output
from locked import leaks
from toy_run import ToyRun

import mlfactory
from mlfactory.oof.component import oof
from mlfactory.report.component import report
from mlfactory.stacking.component import stacking
from mlfactory_pipelines.plan import resolve
from mlfactory_pipelines.training import compile_to

BARE = {"base_image": "python-toy:1", "packages_to_install": [], "install_kfp_package": False}


@dsl.component(**BARE)
def given(path: str, out: Output[Artifact]):
    """Hand an existing file or folder to the next step."""
    import shutil
    from pathlib import Path

    Path(out.path).parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if Path(path).is_dir() else shutil.copyfile)(path, out.path)


@dsl.component(**BARE)
def dataset(index_path: str, test_path: str, index: Output[Dataset], test_labels: Output[Dataset]):
    """Stand in for the stage of this name."""
    import shutil

    shutil.copytree(index_path, index.path)
    shutil.copyfile(test_path, test_labels.path)


@dsl.component(**BARE)
def train(
    job: dict,
    index: Input[Dataset],
    fold_predictions: Output[Dataset],
    test_predictions: Output[Dataset],
    fit: Output[Artifact],
):
    """Stand in for a training stage."""
    import shutil

    shutil.copyfile(job["fold"], fold_predictions.path)
    shutil.copyfile(job["test"], test_predictions.path)
    shutil.copyfile(job["fit"], fit.path)


@dsl.component(**BARE)
def peek(anything: Input[Dataset]):
    """Read what it is given."""


@dsl.component(**BARE)
def peek_all(anything: Input[List[Dataset]]):  # noqa: UP006
    """Read all that it is given."""


def pipeline(
    paths: dict[str, str], jobs: dict[str, list[dict[str, str]]], plant: str = ""
) -> Callable[..., Any]:
    """The last stages as they are wired; ``plant`` opens the test early in one of several ways."""

    @dsl.pipeline(name="judge")
    def judge() -> None:
        data = dataset(index_path=paths["index"], test_path=paths["test_labels"])
        folds = data.outputs["test_labels" if plant == "trained on it" else "index"]
        tasks = {}
        for family, of in jobs.items():
            with dsl.ParallelFor(of, name=family) as job:
                tasks[family] = train(job=job, index=folds)
                if plant == "inside a loop":
                    peek(anything=data.outputs["test_labels"])

        def every(output: str, suffix: str = "") -> dict[str, Any]:
            return {f"{f}{suffix}": dsl.Collected(task.outputs[output]) for f, task in tasks.items()}

        if plant == "collected":
            with dsl.ParallelFor(["a", "b"], name="innocent"):
                other = dataset(index_path=paths["index"], test_path=paths["test_labels"])
            peek_all(anything=dsl.Collected(other.outputs["test_labels"]))
        collected = oof(index=data.outputs["index"], **every("fold_predictions"))
        ranked_by = data.outputs["test_labels" if plant == "ranked on it" else "index"]
        stacked = stacking(oof=collected.outputs["oof"], index=ranked_by, **every("test_predictions"))
        hidden = data.outputs["index" if plant == "nobody opens it" else "test_labels"]
        report(
            oof=collected.outputs["oof"],
            ensemble_predictions=stacked.outputs["ensemble_predictions"],
            ranking=stacked.outputs["ranking"],
            index=data.outputs["index"],
            test_labels=hidden,
            data_report=given(path=paths["data_report"]).outputs["out"],
            regime_report=given(path=paths["regime_report"]).outputs["out"],
            params={"draws": 1000, "shuffles": 20},
            **every("test_predictions"),
            **every("fit", "_fits"),
        )

    return judge


def compiled(folder: Path, plant: str = "") -> dict[str, Any]:
    paths = dict.fromkeys(("index", "test_labels", "data_report", "regime_report"), "x")
    jobs = {
        "boosting": [{"fold": "f", "test": "t", "fit": "j"}],
        "cnn": [{"fold": "f", "test": "t", "fit": "j"}],
    }
    compiler.Compiler().compile(pipeline(paths, jobs, plant), str(folder / "p.yaml"))
    documents = yaml.safe_load_all((folder / "p.yaml").read_text())
    return dict(next(documents))


def test_only_the_report_receives_the_outcomes_of_the_locked_test(tmp_path: Path) -> None:
    assert leaks(compiled(tmp_path)) == []


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        ("ranked on it", ["stacking receives test_labels as index (task stacking)"]),
        (
            "trained on it",
            [
                "train receives test_labels as index (task train)",
                "train-2 receives test_labels as index (task train-2)",
            ],
        ),
        (
            "collected",
            [
                "peek-all receives test_labels as anything (task peek-all)",
            ],
        ),
        (
            "inside a loop",
            [
                "peek receives test_labels as anything (task peek)",
                "peek-2 receives test_labels as anything (task peek-2)",
            ],
        ),
        ("nobody opens it", ["report does not receive test_labels"]),
    ],
)
def test_a_graph_that_opens_the_test_early_is_caught(plant: str, found: list[str], tmp_path: Path) -> None:
    assert leaks(compiled(tmp_path, plant)) == found


def test_the_training_pipeline_opens_the_test_in_the_report_alone(tmp_path: Path) -> None:
    compile_to(resolve({}), tmp_path / "training.yaml")
    ir = next(yaml.safe_load_all((tmp_path / "training.yaml").read_text()))
    assert leaks(ir) == []
    assert leaks(ir, locked="labels", readers={"dataset"}) == []


def test_a_graph_without_the_artifact_does_not_pass_as_clean(tmp_path: Path) -> None:
    assert leaks(compiled(tmp_path), locked="renamed") == ["no component makes an artifact 'renamed'"]


def test_kfp_runs_the_last_stages_and_sees_page_table_and_confusion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(mlfactory.__file__).parents[1]))
    toy = ToyRun(tmp_path / "toy", models={"xgboost": 0.8, "lstm": 0.5}, broken=["lstm"])
    paths = {n: str(getattr(toy, n)) for n in ("index", "test_labels", "data_report", "regime_report")}
    kinds = {"fold": "fold_predictions", "test": "test_predictions", "fit": "fit"}
    made = {short: toy.lists(kind) for short, kind in kinds.items()}
    jobs = {
        family: [
            {short: str(made[short][family + ("_fits" if short == "fit" else "")][0]) for short in kinds}
        ]
        for family in ("boosting", "neural")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp.local talks about images in warnings
        local.init(
            local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"), raise_on_error=True
        )
        pipeline(paths, jobs)()
    folder = next((tmp_path / "runs").glob("judge-*")) / "report"
    assert {p.name for p in folder.iterdir()} >= {"report", "html", "leaderboard", "confusion", "timings"}
    seen = json.loads((folder / "executor_output.json").read_text())["artifacts"]
    matrix = seen["confusion"]["artifacts"][0]["metadata"]["confusionMatrix"]
    document = json.loads((folder / "report" / "report.json").read_text())
    assert [row["row"] for row in matrix["rows"]] == document["horizons"]["20"]["confusion"]
    assert seen["report"]["artifacts"][0]["metadata"]["artifact"] == "report"
    metrics = seen["timings"]["artifacts"][0]["metadata"]
    ensemble = next(
        row for row in document["leaderboard"] if row["model"] == document["horizons"]["20"]["ensemble"]
    )
    assert metrics["ensemble_gain_h20"] == ensemble["gain"]
    assert (folder / "html").read_text() == (folder / "report" / "report.html").read_text()
