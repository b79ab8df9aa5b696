"""InceptionTime: convolutions of several lengths side by side.

Axes: b window, t time step, f feature, c channel.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from pydantic import Field

from mlfactory.models.sequence import SequenceModel
from mlfactory.models.sizes import fit_in_window

if TYPE_CHECKING:
    import torch

RESIDUAL_EVERY: Final = 3
"""blocks that one shortcut spans"""


@dataclass
class InceptionTime(SequenceModel):
    """Inception blocks with a shortcut over every third; the mean over the window gives the classes.

    One of the five networks whose probabilities the paper averages; here other models join the ensemble.
    """

    source: ClassVar[str] = (
        "Ismail Fawaz et al. (2020), InceptionTime: finding AlexNet for time series classification"
    )

    blocks: Annotated[int, Field(ge=1)] = 6
    filters: Annotated[int, Field(ge=1)] = 16
    """of each branch; 32 in the paper"""
    bottleneck: Annotated[int, Field(ge=1)] = 32
    """channels that enter the convolutions"""
    kernels: tuple[Annotated[int, Field(ge=1)], ...] = (10, 20, 40)
    """steps of the convolutions side by side"""

    def __post_init__(self) -> None:
        super().__post_init__()
        fit_in_window(self.steps, kernel=max(self.kernels, default=1))

    def network(self, features: int) -> "torch.nn.Module":
        from torch import nn

        width = self.filters * (len(self.kernels) + 1)
        blocks, shortcuts = nn.ModuleList(), nn.ModuleList()
        for number in range(self.blocks):
            channels = width if number else features
            blocks.append(build_block(channels, self.filters, self.bottleneck, self.kernels))
            if (number + 1) % RESIDUAL_EVERY == 0:
                start = width if number >= RESIDUAL_EVERY else features
                shortcut = nn.Conv1d(start, width, 1, bias=False)
                shortcuts.append(nn.Sequential(shortcut, nn.BatchNorm1d(width)))
        return build(blocks, shortcuts, width, self.dropout)


def build(
    blocks: "torch.nn.ModuleList", shortcuts: "torch.nn.ModuleList", width: int, dropout: float
) -> "torch.nn.Module":
    """Chain the blocks, add the shortcuts, average over time and put the head behind the mean."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.shortcuts, self.dropout = blocks, shortcuts, nn.Dropout(dropout)
            self.head = nn.Linear(width, 3)

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            """Encode every step: b t f -> b c t."""
            x = x.transpose(1, 2)
            start, shortcuts = x, iter(self.shortcuts)
            for number, block in enumerate(self.blocks, start=1):
                x = block(x)
                if number % RESIDUAL_EVERY == 0:
                    start = x = torch.relu(x + next(shortcuts)(start))
            return x

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.dropout(self.encode(x).mean(dim=2)))
            return scores

    return Network()


def build_block(channels: int, filters: int, bottleneck: int, kernels: tuple[int, ...]) -> "torch.nn.Module":
    """Make an inception block: b c t -> b c t, ``filters`` channels from each kernel and from the maximum."""
    import torch
    from torch import nn

    from mlfactory.models.layers import SteadyConv1d

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            narrow = bottleneck if channels > 1 else 1
            # no biases: the normalisation takes the mean away
            self.bottleneck = nn.Conv1d(channels, narrow, 1, bias=False) if channels > 1 else nn.Identity()
            self.convolutions = nn.ModuleList(SteadyConv1d(narrow, filters, k, bias=False) for k in kernels)
            self.maximum = nn.Sequential(
                nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(channels, filters, 1, bias=False)
            )
            self.norm = nn.BatchNorm1d(filters * (len(kernels) + 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            narrow = self.bottleneck(x)
            branches = [convolution(narrow) for convolution in self.convolutions] + [self.maximum(x)]
            return torch.relu(self.norm(torch.cat(branches, dim=1)))

    return Block()


MODEL = InceptionTime
