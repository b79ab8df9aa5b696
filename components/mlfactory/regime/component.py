"""The KFP face of the regime stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("regime"), packages_to_install=[], install_kfp_package=False)
def regime(
    bars: Input[Dataset],
    regime: Output[Dataset],
    timings: Output[Metrics],
    params: Dict[str, Any] = {},
) -> None:
    """Classify the market before every bar: volatility, trend, structure and hidden states.

    Args:
        bars: The bars of one contract.
        regime: One row per bar, each column from bars strictly before it.
        timings: Time, memory and counts of this run.
        params: Parameters of the stage; a missing key means its default.
    """
    from mlfactory.common.stage import execute
    from mlfactory.regime.stage import run

    execute(run, timings, bars=bars, regime=regime, params=params)
