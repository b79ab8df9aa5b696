"""GRU: a recurrent network with two gates and no separate memory.

Axes: b window, t time step, f feature, d width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import SequenceModel

if TYPE_CHECKING:
    import torch


@dataclass
class GRU(SequenceModel):
    """Recurrent network whose gates reset and update one state; the last step's state gives the classes."""

    source: ClassVar[str] = (
        "Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical "
        "machine translation"
    )

    hidden: Annotated[int, Field(ge=1)] = 64
    layers: Annotated[int, Field(ge=1)] = 2

    def network(self, features: int) -> "torch.nn.Module":
        from torch import nn

        from mlfactory.models.layers import LastState

        between = self.dropout if self.layers > 1 else 0.0
        recurrent = nn.GRU(features, self.hidden, self.layers, batch_first=True, dropout=between)
        return LastState(recurrent, self.dropout)  # b t f -> b t d -> b 3


MODEL = GRU
