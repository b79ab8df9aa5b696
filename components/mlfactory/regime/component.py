"""The KFP face of the regime stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("regime"), packages_to_install=[], install_kfp_package=False)
def regime(
    bars: Input[Dataset],
    regime: Output[Dataset],
    regime_report: Output[Artifact],
    states: Output[Markdown],
    timings: Output[Metrics],
    params: Dict[str, Any] = {},
) -> None:
    """Classify the market before every bar: volatility, trend, structure and hidden states.

    Args:
        bars: The bars of one contract.
        regime: One row per bar, each column from bars strictly before it.
        regime_report: JSON document: how often each state is held, and how often its own bar would change it.
        states: The same as a table.
        timings: Time, memory and counts of this run.
        params: Parameters of the stage; a missing key means its default.
    """
    from mlfactory.common.stage import execute
    from mlfactory.regime.stage import run

    execute(
        run,
        timings,
        bars=bars,
        regime=regime,
        regime_report=regime_report,
        states=states,
        params=params,
    )
