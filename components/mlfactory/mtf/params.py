"""Parameters of the ladder of timeframes."""

from typing import Annotated

from pydantic import Field

from mlfactory.common.params import Params as Base

Minutes = Annotated[int, Field(ge=1)]


class Params(Base):
    """Which timeframes to build."""

    steps: list[Minutes] = Field(default=[1, 5, 10, 15, 20, 25, 30, 45, 60], min_length=1)
    """minutes, each a multiple of the bars' own step; smaller ones are left out with a note.
    240 is four hours, 1440 one bar per session"""
