"""Layers that several networks are made of.

Axes: b window, t time step, f feature, c channel, n token, h head, d width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LastState(nn.Module):
    """Recurrent network that reads a window step by step; its last state gives the scores."""

    def __init__(self, recurrent: nn.RNNBase, dropout: float) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.norm = nn.LayerNorm(recurrent.hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(recurrent.hidden_size, 3)

    def states(self, x: Tensor) -> Tensor:
        """State after every step: b t f -> b t d."""
        states: Tensor = self.recurrent(x)[0]
        return states

    def forward(self, x: Tensor) -> Tensor:
        """Score windows: b t f -> b 3."""
        scores: Tensor = self.head(self.dropout(self.norm(self.states(x)[:, -1])))
        return scores


class SteadyConv1d(nn.Conv1d):
    """Convolution with as many steps out as in: zeros are put around the window, or before it alone.

    An even kernel cannot be centred; it reaches one step further ahead than back.
    """

    causal = False

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: b c t -> b c t."""
        reach = self.dilation[0] * (self.kernel_size[0] - 1)
        before = reach if self.causal else reach // 2
        return super().forward(functional.pad(x, (before, reach - before)))


class CausalConv1d(SteadyConv1d):
    """Convolution in which a step sees itself and earlier steps."""

    causal = True


class Attention(nn.Module):
    """Multi-head scaled dot-product self-attention. Vaswani et al. (2017), section 3.2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: b n d -> b n d."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # b h n e
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all tokens: one mean and variance for each of the d widths."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise: b n d -> b n d."""
        return super().forward(x.flatten(0, 1)).view_as(x)


class EncoderLayer(nn.Module):
    """Attention between tokens, then the same two-layer network on each; both are residual, normalised after.

    Source: Vaswani et al. (2017), section 3.1.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        expansion: int,
        dropout: float,
        norm: type[nn.LayerNorm | nn.BatchNorm1d] = nn.LayerNorm,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        """Make the layer.

        Args:
            width: d.
            heads: of the attention; a divisor of ``width``.
            expansion: hidden units of the two-layer network, in multiples of ``width``.
            dropout: of what is added to the residual.
            norm: after each addition.
            activation: of the two-layer network.
        """
        super().__init__()
        self.attention, self.attended = Attention(width, heads), norm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, expansion * width), activation(), nn.Linear(expansion * width, width)
        )
        self.fed, self.dropout = norm(width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: b n d -> b n d."""
        x = self.attended(x + self.dropout(self.attention(x)))
        encoded: Tensor = self.fed(x + self.dropout(self.feed_forward(x)))
        return encoded


def standardise(x: Tensor, dim: int, epsilon: float = 1e-5) -> Tensor:
    """Subtract the mean along ``dim`` and divide by the standard deviation; a constant becomes zero."""
    centred = x - x.mean(dim, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim, keepdim=True) + epsilon)
