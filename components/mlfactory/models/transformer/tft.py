"""TFT: which variables matter, step by step, and which steps, in a form that can be read off.

Axes: b window, k timeframe, t time step, c channel, v variable, h head, d width, q quantile.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.common.errors import InputError
from mlfactory.models.sequence import MultiResolutionModel
from mlfactory.models.sizes import split_evenly

if TYPE_CHECKING:
    import torch

Level = Annotated[float, Field(gt=0, lt=1)]


@dataclass
class TFT(MultiResolutionModel):
    """Temporal fusion transformer: variable selection, LSTM encoder, interpretable attention; classes and quantiles.

    Every channel of every timeframe is a variable; step t of a window is the t-th of the last closed bars of each.
    The last step gives the classes and the quantiles of the long trade's net return, whose pinball loss joins
    the log loss. Static inputs and known futures of the paper have no counterpart here.
    """

    uses_returns: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Lim et al. (2021), Temporal fusion transformers for interpretable multi-horizon time series forecasting"
    )

    hidden: Annotated[int, Field(ge=1)] = 16
    layers: Annotated[int, Field(ge=1)] = 1
    """of the LSTM"""
    heads: Annotated[int, Field(ge=1)] = 4
    quantiles: tuple[Level, ...] = (0.1, 0.5, 0.9)
    """ascending; of the net return"""
    quantile_weight: Annotated[float, Field(ge=0)] = 0.5
    """share of the pinball loss, in units of the returns' standard deviation, beside the log loss"""

    def __post_init__(self) -> None:
        super().__post_init__()
        split_evenly(self.hidden, self.heads)
        if not self.quantiles or list(self.quantiles) != sorted(set(self.quantiles)):
            raise InputError(f"quantiles are {self.quantiles}: expected ascending levels, each once")

    def network(self, channels: int, timeframes: int) -> "torch.nn.Module":
        from torch import nn

        between = self.dropout if self.layers > 1 else 0.0
        encoder = nn.LSTM(self.hidden, self.hidden, self.layers, batch_first=True, dropout=between)
        sizes = (channels * timeframes, self.hidden, self.heads)
        return build(encoder, sizes, self.quantiles, self.quantile_weight, self.dropout)


def build(
    encoder: "torch.nn.Module",
    sizes: tuple[int, int, int],
    levels: tuple[float, ...],
    share: float,
    dropout: float,
) -> "torch.nn.Module":
    """Chain selection, encoder, attention and the two heads.

    Args:
        encoder: LSTM, b t d -> b t d.
        sizes: variables, d and heads.
        levels: of the quantiles.
        share: weight of the pinball loss.
        dropout: of every gated residual network.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    from mlfactory.models.gating import GatedResidual, GatedSkip, InterpretableAttention, Selection

    variables, width, heads = sizes

    class Network(nn.Module):
        levels: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.selection = Selection(variables, width, dropout)
            self.encoder, self.encoded = encoder, GatedSkip(width, dropout)
            self.enrichment = GatedResidual(width, width, width, dropout)
            self.attention, self.attended = InterpretableAttention(width, heads), GatedSkip(width, dropout)
            self.feed_forward, self.fed = (
                GatedResidual(width, width, width, dropout),
                GatedSkip(width, dropout),
            )
            self.head = nn.Linear(width, 3)
            self.lowest, self.gaps = nn.Linear(width, 1), nn.Linear(width, len(levels) - 1)
            self.register_buffer("levels", torch.tensor(levels), persistent=False)  # a setting, not learned
            self._state: torch.Tensor | None = None

        def decode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            """State of the last step b d, share of each variable b t v, and of each step in the last one b t."""
            series = x.transpose(1, 2).flatten(2)  # b k t c -> b t v
            selected, weights = self.selection(series)
            temporal = self.encoded(self.encoder(selected)[0], selected)
            enriched = self.enrichment(temporal)
            mixed, attention = self.attention(enriched)
            state = self.feed_forward(self.attended(mixed, enriched))
            return self.fed(state, temporal)[:, -1], weights, attention[:, -1]

        def quantiles(self, state: torch.Tensor) -> torch.Tensor:
            """Quantiles b q of the net return: the lowest plus gaps that cannot be negative, so they never cross."""
            gaps = functional.softplus(self.gaps(state)).cumsum(dim=-1)
            lowest = self.lowest(state)
            return torch.cat([lowest, lowest + gaps], dim=-1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self._state = self.decode(x)[0]
            scores: torch.Tensor = self.head(self._state)
            return scores

        def auxiliary_loss(self, returns: torch.Tensor) -> torch.Tensor:
            """Pinball loss of the quantiles of the batch that ``forward`` saw last. Koenker and Bassett (1978)."""
            assert self._state is not None
            miss = returns[:, None] - self.quantiles(self._state).float()
            self._state = None
            return share * torch.maximum(self.levels * miss, (self.levels - 1) * miss).mean()

        def explain(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            _, weights, attention = self.decode(x)
            return {"variable weights": weights.mean(dim=1), "attention to steps": attention}

    return Network()


MODEL = TFT
