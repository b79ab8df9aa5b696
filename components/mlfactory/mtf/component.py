"""The KFP face of the mtf stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("mtf"), packages_to_install=[], install_kfp_package=False)
def mtf(
    bars: Input[Dataset],
    mtf: Output[Dataset],
    timings: Output[Metrics],
    params: Dict[str, Any] = {},
) -> None:
    """Build bars of every timeframe and tell each row which of them have closed.

    Args:
        bars: The bars of one contract.
        mtf: Folder with a table per timeframe and the alignment of every row.
        timings: Time, memory and counts of this run.
        params: Parameters of the stage; a missing key means its default.
    """
    from mlfactory.common.stage import execute
    from mlfactory.mtf.stage import run

    execute(run, timings, bars=bars, mtf=mtf, params=params)
