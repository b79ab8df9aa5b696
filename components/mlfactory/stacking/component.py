"""The ``stacking`` step of the pipeline."""

from typing import Any, Dict, List

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("stacking"), packages_to_install=[], install_kfp_package=False)
def stacking(
    oof: Input[Dataset],
    index: Input[Dataset],
    ensemble: Output[Model],
    ensemble_predictions: Output[Dataset],
    ranking: Output[Artifact],
    timings: Output[Metrics],
    boosting: Input[List[Dataset]] | None = None,
    classical: Input[List[Dataset]] | None = None,
    neural: Input[List[Dataset]] | None = None,
    cnn: Input[List[Dataset]] | None = None,
    transformer: Input[List[Dataset]] | None = None,
    seed: int = 0,
    params: Dict[str, Any] = {},
) -> None:
    """Combine all models in nested purged folds, predict the label-free test, rank all on development rows.

    Args:
        oof: Out-of-fold predictions of all models.
        index: Rows, labels and folds that every model was trained with.
        ensemble: A combiner per horizon and the contract of its input columns.
        ensemble_predictions: Probabilities of the combiners out of fold and on the locked test.
        ranking: Score of every model on development rows, best first; the test has no part in it.
        timings: Time, memory and out-of-fold log loss of every model.
        boosting: Test predictions of the family.
        classical: Test predictions of the family.
        neural: Test predictions of the family.
        cnn: Test predictions of the family.
        transformer: Test predictions of the family.
        seed: Of the combiners and of the bootstrap.
        params: Combiners and bootstrap resamples.
    """
    from mlfactory.common.stage import execute
    from mlfactory.stacking.stage import run

    execute(
        run,
        timings,
        oof=oof,
        index=index,
        ensemble=ensemble,
        ensemble_predictions=ensemble_predictions,
        ranking=ranking,
        boosting=boosting,
        classical=classical,
        neural=neural,
        cnn=cnn,
        transformer=transformer,
        seed=seed,
        params=params,
    )
