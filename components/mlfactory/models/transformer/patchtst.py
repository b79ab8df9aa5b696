"""PatchTST: a window cut into patches, each channel encoded by itself with the same weights.

Axes: b window, k timeframe, t time step, c channel, p patch, d width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import MultiResolutionModel
from mlfactory.models.sizes import fit_in_window, split_evenly

if TYPE_CHECKING:
    import torch


@dataclass
class PatchTST(MultiResolutionModel):
    """Channel-independent encoder of patches; timeframes are fused before the head.

    The paper flattens all patches of a channel into its forecast. Here every channel's patches are averaged, the
    channels of a timeframe are joined, and a learned softmax weighs the timeframes.
    """

    source: ClassVar[str] = (
        "Nie et al. (2023), A time series is worth 64 words: long-term forecasting with transformers"
    )

    hidden: Annotated[int, Field(ge=1)] = 32
    layers: Annotated[int, Field(ge=1)] = 2
    heads: Annotated[int, Field(ge=1)] = 4
    expansion: Annotated[int, Field(ge=1)] = 2
    """units of the feed-forward layer, in multiples of ``hidden``"""
    patch: Annotated[int, Field(ge=1)] = 16
    """steps per patch"""
    stride: Annotated[int, Field(ge=1)] = 8
    """steps between the starts of patches; the window's last step is repeated ``stride`` times, as in the paper"""

    def __post_init__(self) -> None:
        super().__post_init__()
        fit_in_window(self.steps, patch=self.patch)
        split_evenly(self.hidden, self.heads)

    @property
    def patches(self) -> int:
        """Patches per channel."""
        return (self.steps - self.patch) // self.stride + 2

    def network(self, channels: int, timeframes: int) -> "torch.nn.Module":
        from torch import nn

        from mlfactory.models.layers import EncoderLayer, TokenBatchNorm

        layers = (
            EncoderLayer(self.hidden, self.heads, self.expansion, self.dropout, norm=TokenBatchNorm)
            for _ in range(self.layers)
        )
        cut = (self.patch, self.stride, self.patches)
        return build(nn.Sequential(*layers), cut, self.hidden, (channels, timeframes), self.dropout)


def build(
    encoder: "torch.nn.Module",
    cut: tuple[int, int, int],
    width: int,
    inputs: tuple[int, int],
    dropout: float,
) -> "torch.nn.Module":
    """Put the embedding of patches before the encoder, and fusion and head behind it.

    Args:
        encoder: b p d -> b p d.
        cut: steps per patch, steps between patches, and number of patches.
        width: d.
        inputs: channels and timeframes.
        dropout: of embedded patches and of what the head reads.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    from mlfactory.models.layers import standardise

    patch, stride, patches = cut
    channels, timeframes = inputs

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Linear(patch, width)
            self.position = nn.Parameter(0.02 * torch.randn(patches, width))
            self.timeframe = nn.Parameter(0.02 * torch.randn(timeframes, width))
            self.dropout = nn.Dropout(dropout)
            self.encoder = encoder
            self.relevance = nn.Linear(channels * width, 1)
            self.head = nn.Linear(channels * width, 3)

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            """Encode every channel of every timeframe by itself: b k t c -> b k c d."""
            series = standardise(x.transpose(2, 3), dim=-1)  # b k c t
            last = series[..., -1:].expand(*series.shape[:-1], stride)
            cuts = torch.cat([series, last], dim=-1).unfold(-1, patch, stride)  # b k c p patch
            tokens = self.embedding(cuts) + self.position + self.timeframe[:, None, None]
            encoded: torch.Tensor = self.encoder(self.dropout(tokens).flatten(0, 2)).mean(dim=1)
            return encoded.view(*series.shape[:3], width)

        def weigh(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Encode the timeframes, b k (c d), and say what share each has in the head's input, b k."""
            encoded = self.encode(x).flatten(2)
            return encoded, functional.softmax(self.relevance(encoded).squeeze(-1), dim=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            encoded, share = self.weigh(x)
            fused = (encoded * share[..., None]).sum(dim=1)
            scores: torch.Tensor = self.head(self.dropout(fused))
            return scores

        def explain(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"timeframe weights": self.weigh(x)[1]}

    return Network()


MODEL = PatchTST
