"""The KFP face of the dataset stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("dataset"), packages_to_install=[], install_kfp_package=False)
def dataset(
    features: Input[Dataset],
    labels: Input[Dataset],
    mtf: Input[Dataset],
    boosting_optimal: Output[Dataset],
    neural_optimal: Output[Dataset],
    transformer_raw: Output[Dataset],
    index: Output[Dataset],
    test_labels: Output[Dataset],
    timings: Output[Metrics],
    params: Dict[str, Any] = {},
) -> None:
    """Part the rows into purged folds and a locked test, and write what each family trains on.

    Args:
        features: One row per bar.
        labels: One row per bar.
        mtf: Closed bars of every timeframe.
        boosting_optimal: Matrix of all columns that are not levels.
        neural_optimal: The same without higher timeframes.
        transformer_raw: Raw bars of every timeframe, and where each row's windows end.
        index: Rows, development labels and folds; nothing of the locked test.
        test_labels: Labels of the locked test, for the report alone.
        timings: Time, memory and counts of this run.
        params: Parameters of the stage; a missing key means its default.
    """
    from mlfactory.common.stage import execute
    from mlfactory.dataset.stage import run

    execute(
        run,
        timings,
        features=features,
        labels=labels,
        mtf=mtf,
        boosting_optimal=boosting_optimal,
        neural_optimal=neural_optimal,
        transformer_raw=transformer_raw,
        index=index,
        test_labels=test_labels,
        params=params,
    )
