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
        return build(features, self.hidden, self.layers, self.dropout)


def build(features: int, hidden: int, layers: int, dropout: float) -> "torch.nn.Module":
    """Stack the recurrent layers and the head."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            between = dropout if layers > 1 else 0.0
            self.recurrent = nn.LSTM(features, hidden, layers, batch_first=True, dropout=between)
            self.norm = nn.LayerNorm(hidden)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(hidden, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            states, _ = self.recurrent(x)  # b t f -> b t d
            scores: torch.Tensor = self.head(self.dropout(self.norm(states[:, -1])))
            return scores

    return Network()


MODEL = LSTM
