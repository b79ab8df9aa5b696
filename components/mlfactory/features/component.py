"""The KFP face of the features stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("features"), packages_to_install=[], install_kfp_package=False)
def features(
    bars: Input[Dataset],
    regime: Input[Dataset],
    mtf: Input[Dataset],
    features: Output[Dataset],
    timings: Output[Metrics],
    params: Dict[str, Any] = {},
) -> None:
    """Compute every feature column of a series.

    Args:
        bars: The bars of one contract.
        regime: Market regimes before every bar.
        mtf: Folder with a table per timeframe and the alignment of every row.
        features: Table with a timestamp and a column per feature.
        timings: Time, memory and counts of this run.
        params: Parameters of the stage; a missing key means its default.
    """
    from mlfactory.common.stage import execute
    from mlfactory.features.stage import run

    execute(run, timings, bars=bars, regime=regime, mtf=mtf, features=features, params=params)
