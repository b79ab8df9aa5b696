"""The KFP face of the ingest stage."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("ingest"), packages_to_install=[], install_kfp_package=False)
def ingest(
    bars: Output[Dataset],
    quarantine: Output[Dataset],
    data_report: Output[Artifact],
    timings: Output[Metrics],
    source: str = "synthetic:",
    bars_version: str = "",
    symbol: str = "",
    params: Dict[str, Any] = {},
) -> None:
    """Turn a source of bars into checked bars with their session calendar; rejected rows are kept with a reason.

    Args:
        bars: the bars that keep every rule.
        quarantine: the rows that do not, with the reason of each.
        data_report: JSON document about the series.
        timings: time and memory of the step.
        source: path or URI of a Parquet or CSV file, or ``synthetic:``.
        bars_version: sha256 or version name of the source; part of the cache key.
        symbol: instrument or contract; empty means GENERIC for files and ES for generated bars.
        params: the stage's parameters.
    """
    from mlfactory.common.stage import execute
    from mlfactory.ingest.stage import run

    execute(
        run,
        timings,
        source=source,
        bars=bars,
        quarantine=quarantine,
        data_report=data_report,
        symbol=symbol,
        bars_version=bars_version,
        params=params,
    )
