"""Transformer encoder: every step of a window attends to every other.

Axes: b window, t time step, f feature, d width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import SequenceModel
from mlfactory.models.sizes import split_evenly

if TYPE_CHECKING:
    import torch


@dataclass
class Transformer(SequenceModel):
    """Encoder of the original transformer; the last step's encoding gives the classes.

    A window is full and lies in the past as a whole, so no step has to be masked.
    """

    source: ClassVar[str] = "Vaswani et al. (2017), Attention is all you need"

    hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 32
    """width of a step's encoding; even, as positions are pairs of sine and cosine"""
    layers: Annotated[int, Field(ge=1)] = 2
    heads: Annotated[int, Field(ge=1)] = 4
    expansion: Annotated[int, Field(ge=1)] = 4
    """units of the feed-forward layer, in multiples of ``hidden``"""

    def __post_init__(self) -> None:
        super().__post_init__()
        split_evenly(self.hidden, self.heads)

    def network(self, features: int) -> "torch.nn.Module":
        from torch import nn

        from mlfactory.models.layers import EncoderLayer

        layers = (
            EncoderLayer(self.hidden, self.heads, self.expansion, self.dropout, activation=nn.ReLU)
            for _ in range(self.layers)
        )
        return build(features, positions(self.steps, self.hidden), nn.Sequential(*layers), self.dropout)


def build(
    features: int, position: "torch.Tensor", encoder: "torch.nn.Module", dropout: float
) -> "torch.nn.Module":
    """Put the embedding of steps, shape (t, d) of positions, before the encoder and the head behind it."""
    import torch
    from torch import nn

    width = position.shape[1]

    class Network(nn.Module):
        position: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Linear(features, width)
            self.register_buffer("position", position, persistent=False)  # a formula, not learned
            self.dropout = nn.Dropout(dropout)
            self.encoder = encoder
            self.head = nn.Linear(width, 3)

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            """Encode every step in the light of all: b t f -> b t d."""
            encoded: torch.Tensor = self.encoder(self.dropout(self.embedding(x) + self.position))
            return encoded

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.encode(x)[:, -1])
            return scores

    return Network()


def positions(steps: int, width: int) -> "torch.Tensor":
    """Sine and cosine of each step's number at geometrically falling frequencies: shape (steps, width).

    Column 2i is sin(t / 10000^(2i / width)), column 2i + 1 the cosine. Vaswani et al. (2017), section 3.5.
    """
    import torch

    step = torch.arange(steps, dtype=torch.float64)[:, None]
    angle = step / 10_000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).float()


MODEL = Transformer
