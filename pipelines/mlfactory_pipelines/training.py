"""The training pipeline: the one definition that ``kfp.local`` executes and that compiles for a cluster."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Dict, List  # noqa: UP035  the KFP compiler reads these annotations

from kfp import compiler, dsl, kubernetes

from mlfactory.audit.params import AUDITED
from mlfactory.models.registry import FEATURE_SETS
from mlfactory_pipelines import ir
from mlfactory_pipelines.plan import Plan

GPU_FAMILIES = ("neural", "cnn", "transformer")
GPU = "nvidia.com/gpu"
TITLES = {
    "ingest": "Read and check bars",
    "regime": "Regimes, strictly before each bar",
    "mtf": "Ladder of closed bars",
    "features": "Features",
    "labels": "Triple-barrier labels",
    "audit": "Proof of causality",
    "dataset": "Folds and matrices",
    "oof": "Out-of-fold predictions",
    "stacking": "Ensemble",
    "report": "Report on the locked test",
}


def stage(name: str) -> Any:
    """Import the component of a stage."""
    return getattr(importlib.import_module(f"mlfactory.{name}.component"), name)


def trainer(family: str) -> Any:
    """Import the training component of a family."""
    return importlib.import_module("mlfactory.train.component").TRAINERS[family]


def training_pipeline(plan: Plan) -> Callable[..., Any]:
    """Make the pipeline of a plan.

    Stage parameters and job lists are constants of the compiled file: an empty job list typed into a form
    would break its loop. What a form offers is data, version, symbol, seed and GPU. Families without jobs are
    left out.
    """
    jobs = plan.jobs()

    @dsl.pipeline(name="ml-factory", display_name="ML Factory: training")
    def ml_factory(  # noqa: PLR0913  the parameters of the submission form
        source: str = plan.top.source,
        bars_version: str = "",
        symbol: str = plan.top.symbol,
        seed: int = plan.top.seed,
        ledger: str = "",
        checkpoint_uri: str = "",
        gpu_count: str = "0",
        gpu_node_selector: Dict[str, str] = {},  # noqa: B006, UP006
        gpu_tolerations: List[Dict[str, str]] = [],  # noqa: B006, UP006
    ) -> None:
        """Train a stacked ensemble on one contract's bars, without look-ahead, and judge it on a locked test.

        Args:
            source: File or URI of the bars, or ``synthetic:`` for the embedded series.
            bars_version: sha256 or ETag of the source; a changed version is never served from the cache.
            symbol: Contract, as in the instrument table.
            seed: Seed of everything that is drawn.
            ledger: File to which openings of the locked test are appended; empty for none.
            checkpoint_uri: Folder or object store where training keeps its progress, so that a killed task goes on from
                there; empty for none.
            gpu_count: GPUs per training step of the neural families; "0" trains on CPU.
            gpu_node_selector: Labels of the nodes that have them, such as {"nvidia.com/gpu.present": "true"}.
            gpu_tolerations: Tolerations of those nodes' taints.
        """
        run = _Wiring(plan)
        bars = run("ingest", source=source, bars_version=bars_version, symbol=symbol)
        regime = run("regime", bars=bars["bars"])
        mtf = run("mtf", bars=bars["bars"])
        features = run("features", bars=bars["bars"], regime=regime["regime"], mtf=mtf["mtf"])
        labels = run("labels", bars=bars["bars"])
        if "audit" in plan.stages:
            run("audit", bars=bars["bars"], **{name: plan.sections[name] for name in AUDITED})
        data = run("dataset", features=features["features"], labels=labels["labels"], mtf=mtf["mtf"])
        trained = {}
        for family, of in jobs.items():
            with dsl.ParallelFor(of, name=family) as job:
                gpus = gpu_count if family in GPU_FAMILIES else "0"
                task = trainer(family)(
                    job=job,
                    matrix=data[FEATURE_SETS[family]],
                    index=data["index"],
                    seed=seed,
                    accelerator=gpus,
                    checkpoint_uri=checkpoint_uri,
                )
                task.set_display_name(f"Train: {family}")
                if family in GPU_FAMILIES:
                    _offer_gpu(task, gpu_count, gpu_node_selector, gpu_tolerations)
            trained[family] = task

        def every(output: str, suffix: str = "") -> Dict[str, Any]:  # noqa: UP006
            """Collect an output over the jobs of each family; a ``Collected`` serves one reader only."""
            return {
                f"{family}{suffix}": dsl.Collected(task.outputs[output]) for family, task in trained.items()
            }

        oof = run("oof", index=data["index"], **every("fold_predictions"))
        stacked = run("stacking", oof=oof["oof"], index=data["index"], seed=seed, **every("test_predictions"))
        run(
            "report",
            oof=oof["oof"],
            ensemble_predictions=stacked["ensemble_predictions"],
            ranking=stacked["ranking"],
            index=data["index"],
            test_labels=data["test_labels"],
            data_report=bars["data_report"],
            regime_report=regime["regime_report"],
            ledger=ledger,
            seed=seed,
            **every("test_predictions"),
            **every("fit", "_fits"),
        )

    pipeline: Callable[..., Any] = ml_factory
    return pipeline


class _Wiring:
    """Calls a stage's component with the parameters that the plan holds for it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __call__(self, name: str, **inputs: Any) -> Any:
        task = stage(name)(**inputs, params=self.plan.sections[name])
        task.set_display_name(TITLES[name])
        return task.outputs


def _offer_gpu(task: Any, count: Any, selector: Any, tolerations: Any) -> None:
    """Let the submission decide whether a step gets GPUs; without any it runs on CPU nodes."""
    task.set_accelerator_type(GPU).set_accelerator_limit(count)
    kubernetes.add_node_selector_json(task, selector)
    kubernetes.add_toleration_json(task, tolerations)


def compile_to(plan: Plan, path: Path) -> None:
    """Compile the pipeline of a plan to one YAML file of two documents: pipeline and platform settings.

    Raises:
        RuntimeError: a task uses an input that its loop does not declare.
    """
    compiler.Compiler().compile(training_pipeline(plan), str(path))
    if bad := ir.undeclared_inputs(ir.load(path)[0]):
        raise RuntimeError(f"{path} uses undeclared inputs (dag, task, input): {bad}")


def components(plan: Plan) -> dict[str, Any]:
    """Components of a plan by name, in the order of the graph."""
    first = plan.stages.index("oof")
    before, after = plan.stages[:first], plan.stages[first:]
    train = {f"train-{family}": trainer(family) for family in plan.jobs()}
    return {**{name: stage(name) for name in before}, **train, **{name: stage(name) for name in after}}
