"""The KFP face of the audit."""

from typing import Any, Dict

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from mlfactory.common.images import image


@dsl.component(base_image=image("audit"), packages_to_install=[], install_kfp_package=False)
def audit(
    bars: Input[Dataset],
    audit: Output[Artifact],
    html: Output[HTML],
    timings: Output[Metrics],
    regime: Dict[str, Any] = {},
    mtf: Dict[str, Any] = {},
    features: Dict[str, Any] = {},
    labels: Dict[str, Any] = {},
    params: Dict[str, Any] = {},
) -> None:
    """Prove over every column that it neither sees the future nor knows where the file starts.

    Args:
        bars: the bars of one contract.
        audit: JSON document: a verdict per column, and what it rests on.
        html: the same as a page.
        timings: seconds, memory and the number of columns per verdict.
        regime: section `regime` of the configuration.
        mtf: section `mtf` of the configuration.
        features: section `features` of the configuration.
        labels: section `labels` of the configuration.
        params: section `audit` of the configuration.
    """
    from mlfactory.audit.stage import run
    from mlfactory.common.stage import execute

    execute(
        run,
        timings,
        bars=bars,
        audit=audit,
        html=html,
        regime=regime,
        mtf=mtf,
        features=features,
        labels=labels,
        params=params,
    )
