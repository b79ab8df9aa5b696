"""What one training task does."""

from typing import Any

from pydantic import Field

from mlfactory.common.params import Params


class Job(Params):
    """One model at one horizon."""

    model: str
    """name in the registry"""
    horizon: int = Field(gt=0)
    """bars; one of the index's horizons"""
    params: dict[str, Any] = Field(default_factory=dict)
    """hyper-parameters that differ from the model's defaults"""
