"""The ``train-<family>`` steps of the pipeline: one definition, one image per family."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from mlfactory.common.images import image
from mlfactory.models.registry import FEATURE_SETS, models


def train(
    job: Dict[str, Any],
    matrix: Input[Dataset],
    index: Input[Dataset],
    fold_predictions: Output[Dataset],
    test_predictions: Output[Dataset],
    model: Output[Model],
    fit: Output[Artifact],
    timings: Output[Metrics],
    seed: int = 0,
    accelerator: str = "0",
    checkpoint_uri: str = "",
) -> None:
    """Train one model at one horizon; a fit that crashes leaves empty predictions and says why in ``fit``.

    Args:
        job: Model, horizon and hyper-parameters.
        matrix: Feature set of the model's family.
        index: Labels, spans and folds of the matrix's rows.
        fold_predictions: Class probabilities of every fold's held-out rows.
        test_predictions: Class probabilities of the locked test's rows, without labels.
        model: Model refitted on the development rows, the last of which validate it; its scaler and its contract.
        fit: Rows, best iterations and inner losses per fold, or the error.
        timings: Time, memory and counts of this step.
        seed: Seed of everything random in the fit.
        accelerator: Number of GPUs; 0 trains on the CPU.
        checkpoint_uri: Folder or object store where a killed task finds its finished folds and epochs; empty for none.
    """
    from mlfactory.common.stage import execute
    from mlfactory.train.stage import run

    execute(
        run,
        timings,
        job=job,
        matrix=matrix,
        index=index,
        fold_predictions=fold_predictions,
        test_predictions=test_predictions,
        model=model,
        fit=fit,
        seed=seed,
        accelerator=accelerator,
        checkpoint_uri=checkpoint_uri,
    )


def _component(family: str) -> Any:
    component = dsl.component(
        train, base_image=image(f"train-{family}"), packages_to_install=[], install_kfp_package=False
    )
    component.component_spec.name = component.name = f"train-{family}"
    return component


TRAINERS = {
    family: _component(family)
    for family in FEATURE_SETS
    if any(info.family == family for info in models().values())
}
"""Step of every training family that has a model."""
