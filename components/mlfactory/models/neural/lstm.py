"""LSTM: a recurrent network whose cell keeps or forgets.

Axes: b window, t time step, f feature, d width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import SequenceModel

if TYPE_CHECKING:
    import torch


@dataclass
class LSTM(SequenceModel):
    """Recurrent network with gated memory; the last step's state gives the classes."""

    source: ClassVar[str] = "Hochreiter and Schmidhuber (1997), Long short-term memory"

    hidden: Annotated[int, Field(ge=1)] = 64
    layers: Annotated[int, Field(ge=1)] = 2

    def network(self, features: int) -> "torch.nn.Module":
        from torch import nn

        from mlfactory.models.layers import LastState

        between = self.dropout if self.layers > 1 else 0.0
        recurrent = nn.LSTM(features, self.hidden, self.layers, batch_first=True, dropout=between)
        return LastState(recurrent, self.dropout)  # b t f -> b t d -> b 3


MODEL = LSTM
