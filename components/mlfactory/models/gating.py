"""Building blocks of the temporal fusion transformer: gates, variable selection and attention that can be read.

Source: Lim et al. (2021), sections 4.1, 4.2 and 4.4. Axes: b window, t time step, v variable, h head, d width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedSkip(nn.Module):
    """Let a gated linear unit decide how much of ``x`` is added to ``skip``, then normalise."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.gate, self.norm = (
            nn.Dropout(dropout),
            nn.Linear(width, 2 * width),
            nn.LayerNorm(width),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Shapes (..., d)."""
        added: Tensor = self.norm(skip + functional.glu(self.gate(self.dropout(x)), dim=-1))
        return added


class GatedResidual(nn.Module):
    """Gated residual network: two layers that a gate may switch off."""

    def __init__(self, before: int, hidden: int, after: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(before, hidden), nn.Linear(hidden, after)
        self.skip = nn.Linear(before, after) if before != after else nn.Identity()
        self.gated = GatedSkip(after, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes (..., before) -> (..., after)."""
        out: Tensor = self.gated(self.second(functional.elu(self.first(x))), self.skip(x))
        return out


class Selection(nn.Module):
    """Variable selection: every variable is embedded by itself, and a softmax weighs them anew at each step."""

    def __init__(self, variables: int, width: int, dropout: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(variables, width) / width**0.5)
        self.shift = nn.Parameter(torch.zeros(variables, width))
        self.each = GatedResiduals(variables, width, dropout)
        self.weights = GatedResidual(variables * width, width, variables, dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn b t v into the selected mixture b t d and the weights b t v, which sum to one over v."""
        embedded = x[..., None] * self.scale + self.shift  # b t v d
        weights = functional.softmax(self.weights(embedded.flatten(2)), dim=-1)
        return (weights[..., None] * self.each(embedded)).sum(dim=2), weights


class GatedResiduals(nn.Module):
    """A gated residual network of its own for every variable, computed at once."""

    def __init__(self, variables: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = PerVariable(variables, width, width), PerVariable(variables, width, width)
        self.gate, self.dropout = PerVariable(variables, width, 2 * width), nn.Dropout(dropout)
        self.gain, self.bias = (
            nn.Parameter(torch.ones(variables, width)),
            nn.Parameter(torch.zeros(variables, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape b t v d stays."""
        hidden = self.second(functional.elu(self.first(x)))
        added = x + functional.glu(self.gate(self.dropout(hidden)), dim=-1)
        return functional.layer_norm(added, added.shape[-1:]) * self.gain + self.bias


class PerVariable(nn.Module):
    """A linear layer with weights of its own for every variable."""

    def __init__(self, variables: int, before: int, after: int) -> None:
        super().__init__()
        bound = before**-0.5
        self.weight = nn.Parameter(torch.empty(variables, before, after).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(variables, after).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes b t v before -> b t v after."""
        b, t, v, _ = x.shape
        out = torch.bmm(x.flatten(0, 1).transpose(0, 1), self.weight)  # v (b t) after
        shaped: Tensor = out.transpose(0, 1).view(b, t, v, -1) + self.bias
        return shaped


class InterpretableAttention(nn.Module):
    """Causal multi-head attention whose heads share their values, so that their mean weights explain the output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, self.size, bias=False)
        self.out = nn.Linear(self.size, width, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn b t d into b t d and the weights b t s, of which step t gives none to a later step s."""
        query, key = (
            layer(x).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
            for layer in (self.query, self.key)
        )
        scores = query @ key.transpose(2, 3) / self.size**0.5  # b h t s
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(later, float("-inf")).softmax(dim=-1).mean(dim=1)
        return self.out(weights @ self.value(x)), weights
