"""The KFP face of the labels stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("labels"), packages_to_install=[], install_kfp_package=False)
def labels(
    bars: Input[Dataset], labels: Output[Dataset], timings: Output[Metrics], params: Dict[str, Any] = {}
) -> None:
    """Label every bar by the first barrier its price touches, costs on both sides.

    Args:
        bars: the bars of one contract.
        labels: per bar and horizon the label, and end, fill and net return of the long and the short trade.
        timings: seconds and memory.
        params: section `labels` of the configuration.
    """
    from mlfactory.common.stage import execute
    from mlfactory.labels.stage import run

    execute(run, timings, bars=bars, labels=labels, params=params)
