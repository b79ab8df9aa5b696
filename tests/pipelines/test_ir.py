"""The compiled pipeline: it loads, every input is declared, every image is pinned, and its graph is the agreed one."""

import ast
import copy
import inspect
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.pipelines.conftest import Command

from mlfactory.models import registry
from mlfactory_pipelines import cli, ir
from mlfactory_pipelines.plan import Plan, resolve

KFP_ONLY = {"timings", "confusion"}
"""Outputs that a component fills from what its stage wrote."""
GOLDEN = Path(__file__).parent / "golden" / "training.graph.json"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def whole() -> Plan:
    return resolve({})


@pytest.fixture(scope="module")
def file(whole: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlfactory_pipelines.training import compile_to

    path = tmp_path_factory.mktemp("compiled") / "training.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_to(whole, path)
    return path


@pytest.fixture(scope="module")
def pipeline(file: Path) -> dict[str, Any]:
    return ir.load(file)[0]


@pytest.fixture(scope="module")
def platform(file: Path) -> dict[str, Any]:
    return ir.load(file)[1]


def tasks(pipeline: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for _, component in ir.dags(pipeline):
        yield from component["dag"]["tasks"].items()


def test_kfp_loads_the_file_and_offers_the_inputs_of_a_form(file: Path) -> None:
    from kfp import components

    loaded = components.load_component_from_file(str(file))
    assert set(loaded.component_spec.inputs) == {
        "source",
        "bars_version",
        "symbol",
        "seed",
        "ledger",
        "checkpoint_uri",
        "gpu_count",
        "gpu_node_selector",
        "gpu_tolerations",
    }


def test_every_input_of_the_form_is_explained(pipeline: dict[str, Any]) -> None:
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    assert [name for name, spec in parameters.items() if not spec.get("description")] == []
    assert pipeline["pipelineInfo"]["description"]


def test_the_pipeline_document_parses_without_unknown_fields(pipeline: dict[str, Any]) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())


def test_the_platform_document_parses_and_selects_nodes_for_gpu_families_alone(
    platform: dict[str, Any],
) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2

    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        parsed = json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        assert parsed.node_selector.node_selector_json.component_input_parameter, name
        assert parsed.tolerations
    families = {registry.family_of(name) for name in resolve({}).top.models}
    assert set(executors) == {f"exec-train-{f}" for f in families & {"neural", "cnn", "transformer"}}


def test_no_task_uses_an_input_that_its_loop_does_not_declare(pipeline: dict[str, Any]) -> None:
    assert ir.undeclared_inputs(pipeline) == []


def test_an_undeclared_input_is_found(pipeline: dict[str, Any]) -> None:
    broken = copy.deepcopy(pipeline)
    loop = next(name for name, _ in ir.dags(broken) if name != "root")
    declared = broken["components"][loop]["inputDefinitions"]
    del declared["parameters"]["pipelinechannel--seed"]
    removed = next(iter(declared["artifacts"]))
    del declared["artifacts"][removed]
    found = {name for dag, _, name in ir.undeclared_inputs(broken) if dag == loop}
    assert found == {"pipelinechannel--seed", removed}


def test_the_compiler_bug_that_the_check_is_for_is_found(tmp_path: Path) -> None:
    from kfp import compiler, dsl

    @dsl.component(base_image="python:3.11", packages_to_install=[], install_kfp_package=False)
    def step(item: str) -> str:
        return item

    @dsl.pipeline
    def planted(gpu_count: str = "0") -> None:
        with dsl.ParallelFor(["a", "b"]) as item:
            step(item=item).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpu_count)

    path = tmp_path / "planted.yaml"
    compiler.Compiler().compile(planted, str(path))
    assert [name for *_, name in ir.undeclared_inputs(ir.load(path)[0])] == ["pipelinechannel--gpu_count"]


def test_there_is_one_image_per_stage_and_family_and_none_is_latest(
    pipeline: dict[str, Any], whole: Plan
) -> None:
    found = ir.images(pipeline)
    assert set(found) == {*whole.stages, *(f"train-{family}" for family in whole.jobs())}
    for name, image in found.items():
        assert re.fullmatch(rf"mlfactory/python-{name}:[0-9a-f]{{16}}", image)


def test_a_step_embeds_one_function_that_imports_the_library_and_installs_nothing(
    pipeline: dict[str, Any],
) -> None:
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        assert "pip install" not in "\n".join(executor["container"]["command"]), name
        tree = ast.parse(executor["container"]["command"][-1])
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert [type(node).__name__ for node in functions] == ["FunctionDef"], name
        imported = {
            module.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for module in (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
        }
        assert imported <= {"kfp", "typing", "mlfactory"}, name


def test_job_lists_hold_every_model_once_per_horizon(pipeline: dict[str, Any], whole: Plan) -> None:
    found = ir.jobs(pipeline)
    pairs = [(job["model"], job["horizon"]) for of in found.values() for job in of]
    assert len(pairs) == len(set(pairs)) == len(whole.top.models) * len(whole.horizons)
    assert all(found.values())


def test_only_the_report_receives_the_labels_of_the_locked_test(pipeline: dict[str, Any]) -> None:
    readers = [
        name for name, task in ir.graph(pipeline)["tasks"].items() if "test_labels" in " ".join(task["reads"])
    ]
    assert readers == ["report"]


def test_labels_reach_the_dataset_alone(pipeline: dict[str, Any]) -> None:
    readers = [
        name for name, task in ir.graph(pipeline)["tasks"].items() if "<- labels." in " ".join(task["reads"])
    ]
    assert readers == ["dataset"]


def test_the_graph_is_the_agreed_one(pipeline: dict[str, Any]) -> None:
    """After a deliberate change: ``python tests/pipelines/golden/write.py``; then read the difference."""
    assert ir.graph(pipeline) == json.loads(GOLDEN.read_text())


def test_families_without_a_chosen_model_are_left_out(tmp_path: Path) -> None:
    from mlfactory_pipelines.training import compile_to

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_to(resolve({"models": ["logistic"]}), tmp_path / "small.yaml")
    small, platform = ir.load(tmp_path / "small.yaml")
    assert [name for name in ir.images(small) if name.startswith("train-")] == ["train-classical"]
    assert platform == {}
    assert ir.undeclared_inputs(small) == []


def test_a_component_names_its_arguments_as_its_stage_does() -> None:
    import importlib

    from mlfactory_pipelines.training import components

    for name, component in components(resolve({"audit": {"enabled": True}})).items():
        run = importlib.import_module(f"mlfactory.{name.partition('-')[0]}.stage").run
        spec = component.component_spec
        given = {*(spec.inputs or {}), *spec.outputs} - KFP_ONLY
        assert given == set(inspect.signature(run).parameters), name


def test_an_audit_is_one_more_step_that_reads_the_bars_alone(
    pipeline: dict[str, Any], tmp_path: Path
) -> None:
    from mlfactory_pipelines.training import compile_to

    plan = resolve({"audit": {"enabled": True}, "regime": {"window_bars": 999}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile_to(plan, tmp_path / "audited.yaml")
    audited = ir.load(tmp_path / "audited.yaml")[0]
    with_it, without = (ir.graph(each)["tasks"] for each in (audited, pipeline))
    assert {name: with_it[name] for name in with_it if with_it.get(name) != without.get(name)} == {
        "audit": {"image": "mlfactory/python-audit", "reads": ["bars <- ingest.bars"]}
    }
    given = audited["root"]["dag"]["tasks"]["audit"]["inputs"]["parameters"]
    constants = {name: value["runtimeValue"]["constant"] for name, value in given.items()}
    assert constants.pop("params") == plan.sections["audit"]
    assert constants == {name: plan.sections[name] for name in ("regime", "mtf", "features", "labels")}


def test_the_command_compiles_for_a_registry(mlfactory: Command, tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    registry = "registry.example/team"
    done = mlfactory("compile", "-o", path, "--models", "lstm,logistic", "--registry", registry)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == f"{path}: 1 classical job, 1 neural job\n"
    found = ir.images(ir.load(path)[0])
    assert len(found) == len(resolve({}).stages) + 2
    assert all(image.startswith(f"{registry}/mlfactory/python-") for image in found.values())


def test_compiling_into_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["compile", "-o", str(tmp_path / "none" / "training.yaml")])
    assert end.value.code == 2
    assert "its folder does not exist" in capsys.readouterr().err
