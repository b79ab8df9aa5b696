"""ResNet for time series: three residual blocks of three convolutions.

Axes: b window, t time step, f feature, c channel.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from pydantic import Field

from mlfactory.models.sequence import SequenceModel
from mlfactory.models.sizes import fit_in_window

if TYPE_CHECKING:
    import torch

WIDTHS: Final = (1, 2, 2)
"""channels of the blocks, in multiples of the first one's"""


@dataclass
class ResNet1D(SequenceModel):
    """Residual blocks with kernels that shorten; the mean over the window gives the classes."""

    source: ClassVar[str] = (
        "Wang, Yan and Oates (2017), Time series classification from scratch with deep neural networks: "
        "a strong baseline"
    )

    filters: Annotated[int, Field(ge=1)] = 32
    """channels of the first block, half of those of the other two; 64 in the paper"""
    kernels: tuple[Annotated[int, Field(ge=1)], ...] = (8, 5, 3)
    """steps of the convolutions of a block, one after the other"""

    def __post_init__(self) -> None:
        super().__post_init__()
        fit_in_window(self.steps, kernel=max(self.kernels, default=1))

    def network(self, features: int) -> "torch.nn.Module":
        widths = [features] + [self.filters * times for times in WIDTHS]
        return build(widths, self.kernels, self.dropout)


def build(widths: list[int], kernels: tuple[int, ...], dropout: float) -> "torch.nn.Module":
    """Stack the residual blocks, average over time and put the head behind the mean."""
    import torch
    from torch import nn

    from mlfactory.models.layers import SteadyConv1d

    class Block(nn.Module):
        """Convolutions beside a shortcut: b c t -> b c t."""

        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            inputs = [before] + [after] * (len(kernels) - 1)
            layers: list[nn.Module] = []
            for channels, kernel in zip(inputs, kernels, strict=True):
                layers += [SteadyConv1d(channels, after, kernel), nn.BatchNorm1d(after), nn.ReLU()]
            self.convolutions = nn.Sequential(*layers[:-1])  # the last one's ReLU follows the sum
            match = [nn.Conv1d(before, after, 1)] if before != after else []
            self.shortcut = nn.Sequential(*match, nn.BatchNorm1d(after))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.convolutions(x) + self.shortcut(x))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = itertools.pairwise(widths)
            self.blocks = nn.Sequential(*(Block(*pair) for pair in pairs))
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(widths[-1], 3)

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            """Encode every step: b t f -> b c t."""
            encoded: torch.Tensor = self.blocks(x.transpose(1, 2))
            return encoded

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.dropout(self.encode(x).mean(dim=2)))
            return scores

    return Network()


MODEL = ResNet1D
