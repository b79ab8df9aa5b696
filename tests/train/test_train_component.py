"""The faces of the stage: one step and one image per family, all with the same body."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl
from toy_training import HORIZON, OUTPUTS, Data

from mlfactory.common.artifacts import read_json
from mlfactory.models.registry import FEATURE_SETS, models
from mlfactory.train.component import TRAINERS

EVERY_FAMILY = pytest.mark.parametrize("family", sorted(TRAINERS))


def test_every_training_family_that_has_models_has_a_step() -> None:
    assert set(TRAINERS) == {info.family for info in models().values()} & set(FEATURE_SETS)


@EVERY_FAMILY
def test_a_step_compiles_under_its_own_name_with_its_own_image(family: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="one")
    def pipeline(matrix: dsl.Input[dsl.Dataset], index: dsl.Input[dsl.Dataset]) -> None:
        TRAINERS[family](job={"model": "m", "horizon": 5, "params": {}}, matrix=matrix, index=index)

    compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
    ir: Any = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    assert list(ir["components"]) == [f"comp-train-{family}"]
    container = ir["deploymentSpec"]["executors"][f"exec-train-{family}"]["container"]
    name, tag = container["image"].rsplit(":", 1)
    assert name.endswith(f"/python-train-{family}")
    assert tag != "latest"
    assert "pip install" not in str(container)
    made = ir["components"][f"comp-train-{family}"]["outputDefinitions"]["artifacts"]
    assert set(made) == {*OUTPUTS, "timings"}


def test_the_body_trains_and_leaves_the_time_it_took_beside_the_artifacts(
    data: Data, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"model": dsl.Model, "fit": dsl.Artifact, "timings": dsl.Metrics}
    out = {
        name: kinds.get(name, dsl.Dataset)(name=name, uri=str(tmp_path / name), metadata={})
        for name in (*OUTPUTS, "timings")
    }
    given = {
        "matrix": dsl.Dataset(name="matrix", uri=str(inputs / "boosting_optimal"), metadata={}),
        "index": dsl.Dataset(name="index", uri=str(inputs / "index"), metadata={}),
    }
    job = {"model": "logistic", "horizon": float(HORIZON), "params": {"max_iterations": 20.0}}
    TRAINERS["classical"].python_func(job=job, **given, **out, seed=0, accelerator="0")
    assert read_json(tmp_path / "fit")["status"] == "ok"
    timings = read_json(tmp_path / "timings")
    assert timings["seconds"] > 0
    assert timings["rows"] == out["fold_predictions"].metadata["rows"]
    assert len(out["model"].metadata["sha256"]) == 64
    assert "mlfactory | train | logistic, horizon 6: 2 folds" in capsys.readouterr().out
