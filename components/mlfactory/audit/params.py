"""Parameters of the audit: whether a run has one, and how much it compares."""

from typing import Final

from pydantic import Field

from mlfactory.common.params import Params as Base
from mlfactory.features.params import Params as FeatureParams
from mlfactory.labels.params import Params as LabelParams
from mlfactory.mtf.params import Params as LadderParams
from mlfactory.regime.params import Params as RegimeParams


class Params(Base):
    """How often the future is corrupted, and how many rows are computed from their look-back alone."""

    enabled: bool = False
    """whether a run audits its bars"""
    cuts: int = Field(default=8, ge=8)
    """random cuts, besides those at ladder edges, session opens, refits, holes and jumps"""
    rows: int = Field(default=4, ge=1)
    """random rows that are fed their look-back alone, besides the last row and session opens"""
    seed: int = Field(default=0, ge=0)
    strict: bool = False
    """whether a column that could not be tested counts as a failure"""


class Settings(Base):
    """Parameters of the stages whose columns are audited."""

    regime: RegimeParams = RegimeParams()
    mtf: LadderParams = LadderParams()
    features: FeatureParams = FeatureParams()
    labels: LabelParams = LabelParams()


AUDITED: Final = tuple(Settings.model_fields)
"""Stages whose parameters decide which columns there are; weights follow from the labels."""
FAILED: Final = "failed"
"""Verdict on a column that sees the future or knows where the file starts."""
