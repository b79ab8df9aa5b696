"""The face of the stage: it compiles, and kfp.local runs it with and without a family."""

import json
import warnings
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl, local
from kfp.dsl import Dataset, Output
from toy_run import ToyRun

import mlfactory
from mlfactory.common.artifacts import read_provenance
from mlfactory.common.stage import MARK
from mlfactory.oof.component import oof


@dsl.component(base_image="python-toy:1", packages_to_install=[], install_kfp_package=False)
def given(path: str, out: Output[Dataset]):
    """Hand an existing file or folder to the next step."""
    import shutil
    from pathlib import Path

    Path(out.path).parent.mkdir(parents=True, exist_ok=True)
    copy = shutil.copytree if Path(path).is_dir() else shutil.copyfile
    copy(path, out.path)


def wiring(index: str, boosting: list[str], neural: list[str]):
    @dsl.pipeline(name="oof-alone")
    def pipeline() -> None:
        folds = given(path=index)
        families = {}
        for family, paths in (("boosting", boosting), ("neural", neural)):
            if paths:
                with dsl.ParallelFor(paths, name=family) as path:
                    job = given(path=path)
                families[family] = dsl.Collected(job.outputs["out"])
        oof(index=folds.outputs["out"], **families)

    return pipeline


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    return ToyRun(tmp_path_factory.mktemp("toy"), models={"xgboost": 0.8, "lstm": 0.5})


@pytest.mark.parametrize("families", [("boosting", "neural"), ("neural",)], ids="+".join)
def test_kfp_runs_the_step_with_the_families_that_have_jobs(
    toy: ToyRun,
    families: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(mlfactory.__file__).parents[1]))
    lists = toy.lists("fold_predictions")
    chosen = {f: [str(p) for p in lists[f]] if f in families else [] for f in ("boosting", "neural")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp.local talks about images and missing features in warnings
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), raise_on_error=True)
        wiring(str(toy.index), **chosen)()
    made = next(tmp_path.rglob("oof/oof"))
    assert {m["family"] for m in read_provenance(made)["models"]} == set(families)
    timings = json.loads(next(tmp_path.rglob("oof/timings")).read_text())
    assert timings["models"] == len(families)
    assert f"{MARK} oof | " in capsys.readouterr().out


def test_the_step_compiles_and_embeds_no_library_code(tmp_path: Path) -> None:
    compiler.Compiler().compile(wiring("i", ["a"], ["b"]), str(tmp_path / "p.yaml"))
    ir = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    spec = ir["components"]["comp-oof"]["inputDefinitions"]["artifacts"]
    assert spec["cnn"]["isOptional"]
    assert spec["cnn"]["isArtifactList"]
    assert "isOptional" not in spec["index"]
    container = ir["deploymentSpec"]["executors"]["exec-oof"]["container"]
    assert "pip install" not in str(container)
