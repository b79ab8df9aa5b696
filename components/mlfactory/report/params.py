"""Parameters of the ``report`` stage."""

from pydantic import Field

from mlfactory.common.params import Params as Base


class Params(Base):
    """How finely intervals and baselines are drawn."""

    draws: int = Field(default=10_000, ge=1_000)
    """resamples of the block bootstrap; a 99.9 % interval needs thousands"""
    shuffles: int = Field(default=200, ge=20)
    """shuffles of the test outcomes for the baseline ``shuffled_labels``"""
    calibration_bins: int = Field(default=10, ge=2)
    """groups of equal count in the reliability diagram"""
