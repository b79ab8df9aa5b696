"""Parameters of the ``stacking`` stage."""

from pydantic import Field

from mlfactory.common.params import Params as Base


class Params(Base):
    """Which models combine the others, and how finely intervals are drawn."""

    combiners: tuple[str, ...] = Field(default=("meta_ridge",), min_length=1)
    """models of the registry's combining families"""
    draws: int = Field(default=10_000, ge=1_000)
    """resamples of the block bootstrap; a 99.9 % interval needs thousands"""
