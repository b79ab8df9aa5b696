"""The ``oof`` step of the pipeline."""

from typing import Any, Dict, List

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("oof"), packages_to_install=[], install_kfp_package=False)
def oof(
    index: Input[Dataset],
    oof: Output[Dataset],
    timings: Output[Metrics],
    boosting: Input[List[Dataset]] | None = None,
    classical: Input[List[Dataset]] | None = None,
    neural: Input[List[Dataset]] | None = None,
    cnn: Input[List[Dataset]] | None = None,
    transformer: Input[List[Dataset]] | None = None,
    params: Dict[str, Any] = {},
) -> None:
    """Align the fold predictions of all models by row id and refuse any from a model that saw the row.

    Args:
        index: Rows, labels and folds that every model was trained with.
        oof: One row per model and held-out row: fold and class probabilities.
        timings: Time, memory and counts of this step.
        boosting: Fold predictions of the family.
        classical: Fold predictions of the family.
        neural: Fold predictions of the family.
        cnn: Fold predictions of the family.
        transformer: Fold predictions of the family.
        params: None are known.
    """
    from mlfactory.common.stage import execute
    from mlfactory.oof.stage import run

    execute(
        run,
        timings,
        index=index,
        oof=oof,
        boosting=boosting,
        classical=classical,
        neural=neural,
        cnn=cnn,
        transformer=transformer,
        params=params,
    )
