"""Parameters of the ``stacking`` stage."""

from typing import Any

from pydantic import Field

from mlfactory.common.params import Params as Base


class Params(Base):
    """Which models combine the others, and how finely intervals are drawn."""

    combiners: tuple[str, ...] = ()
    """models of the registry's combining families; empty: all of them"""
    settings: dict[str, dict[str, Any]] = Field(default={})
    """hyper-parameters of combiners, by name, that differ from their defaults; a run takes them from ``model``"""
    draws: int = Field(default=10_000, ge=1_000)
    """resamples of the block bootstrap; a 99.9 % interval needs thousands"""
