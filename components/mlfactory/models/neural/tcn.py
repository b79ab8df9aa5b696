"""TCN: causal convolutions whose dilation doubles from block to block.

Axes: b window, t time step, f feature, d width.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import SequenceModel
from mlfactory.models.sizes import fit_in_window

if TYPE_CHECKING:
    import torch


@dataclass
class TCN(SequenceModel):
    """Temporal convolutional network: dilated causal convolutions in residual blocks; the last step is read."""

    source: ClassVar[str] = (
        "Bai, Kolter and Koltun (2018), An empirical evaluation of generic convolutional and recurrent "
        "networks for sequence modeling"
    )

    hidden: Annotated[int, Field(ge=1)] = 32
    kernel: Annotated[int, Field(ge=2)] = 3
    blocks: Annotated[int, Field(ge=1)] | None = None
    """of two convolutions each, with dilations 1, 2, 4, ...; None for as few as see the whole window"""

    def __post_init__(self) -> None:
        super().__post_init__()
        fit_in_window(self.steps, kernel=self.kernel)

    @property
    def depth(self) -> int:
        """Residual blocks."""
        if self.blocks is not None:
            return self.blocks
        return math.ceil(math.log2((self.steps - 1) / (2 * (self.kernel - 1)) + 1))

    @property
    def receptive_field(self) -> int:
        """Steps that the last state sees: each block adds its dilation, twice, for every step of the kernel."""
        return int(1 + 2 * (self.kernel - 1) * (2**self.depth - 1))

    def network(self, features: int) -> "torch.nn.Module":
        return build(features, self.hidden, self.kernel, self.depth, self.dropout)


def build(features: int, hidden: int, kernel: int, depth: int, dropout: float) -> "torch.nn.Module":
    """Stack the residual blocks and the head."""
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import weight_norm

    from mlfactory.models.layers import CausalConv1d

    class Block(nn.Module):
        """Two normalised convolutions beside a shortcut: b d t -> b d t."""

        def __init__(self, width: int, dilation: int) -> None:
            super().__init__()
            self.convolutions = nn.Sequential(
                weight_norm(CausalConv1d(width, hidden, kernel, dilation=dilation)),
                nn.ReLU(),
                nn.Dropout1d(dropout),  # drops whole channels, as neighbouring steps are alike
                weight_norm(CausalConv1d(hidden, hidden, kernel, dilation=dilation)),
                nn.ReLU(),
                nn.Dropout1d(dropout),
            )
            self.shortcut = nn.Conv1d(width, hidden, 1) if width != hidden else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.convolutions(x) + self.shortcut(x))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [features] + [hidden] * (depth - 1)
            self.blocks = nn.Sequential(*(Block(width, 2**level) for level, width in enumerate(widths)))
            self.head = nn.Linear(hidden, 3)

        def states(self, x: torch.Tensor) -> torch.Tensor:
            """State at every step, of which none sees a later one: b t f -> b t d."""
            states: torch.Tensor = self.blocks(x.transpose(1, 2)).transpose(1, 2)
            return states

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.head(self.states(x)[:, -1])
            return scores

    return Network()


MODEL = TCN
