"""iTransformer: every variate is one token, and attention relates variates instead of time steps.

Axes: b window, k timeframe, t time step, c channel, v variate, d width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import MultiResolutionModel
from mlfactory.models.sizes import split_evenly

if TYPE_CHECKING:
    import torch


@dataclass
class ITransformer(MultiResolutionModel):
    """Encoder of variates, of which each channel of each timeframe is one; all encodings together give the classes.

    Windows are not standardised: their prices are relative already, and their level is a variate's news.
    """

    source: ClassVar[str] = (
        "Liu et al. (2024), iTransformer: inverted transformers are effective for time series forecasting"
    )

    hidden: Annotated[int, Field(ge=1)] = 32
    layers: Annotated[int, Field(ge=1)] = 2
    heads: Annotated[int, Field(ge=1)] = 4
    expansion: Annotated[int, Field(ge=1)] = 2
    """units of the feed-forward layer, in multiples of ``hidden``"""

    def __post_init__(self) -> None:
        super().__post_init__()
        split_evenly(self.hidden, self.heads)

    def network(self, channels: int, timeframes: int) -> "torch.nn.Module":
        from torch import nn

        from mlfactory.models.layers import EncoderLayer

        layers = (
            EncoderLayer(self.hidden, self.heads, self.expansion, self.dropout) for _ in range(self.layers)
        )
        variates = channels * timeframes
        return build(nn.Sequential(*layers), self.steps, self.hidden, variates, self.dropout)


def build(
    encoder: "torch.nn.Module", steps: int, width: int, variates: int, dropout: float
) -> "torch.nn.Module":
    """Put the embedding of whole series, t -> d, before the encoder b v d -> b v d and the head behind it."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Linear(steps, width)
            self.dropout = nn.Dropout(dropout)
            self.encoder = encoder
            self.head = nn.Linear(variates * width, 3)

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            """Encode every variate in the light of all: b v t -> b v d; no order among variates."""
            encoded: torch.Tensor = self.encoder(self.dropout(self.embedding(x)))
            return encoded

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            series = x.transpose(2, 3).flatten(1, 2)  # b k t c -> b v t
            scores: torch.Tensor = self.head(self.dropout(self.encode(series).flatten(1)))
            return scores

    return Network()


MODEL = ITransformer
