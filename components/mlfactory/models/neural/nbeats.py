"""N-BEATS: blocks that each explain a part of the window, take it away and pass on the rest.

Axes: b window, t time step, f feature, m series, k coefficient, p step of the forecast.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mlfactory.models.sequence import SequenceModel

if TYPE_CHECKING:
    import torch


@dataclass
class NBeats(SequenceModel):
    """Doubly residual stacks of trend, seasonality and learned shapes; the summed forecast gives the classes.

    The paper's network reads one series and forecasts it. Here a linear layer mixes the features into a few
    series, which share the basis functions and have coefficients of their own, and a head reads the forecast.
    """

    source: ClassVar[str] = (
        "Oreshkin et al. (2020), N-BEATS: neural basis expansion analysis for interpretable time series "
        "forecasting"
    )

    hidden: Annotated[int, Field(ge=1)] = 64
    layers: Annotated[int, Field(ge=1)] = 4
    """fully connected layers of a block"""
    blocks: Annotated[int, Field(ge=1)] = 2
    """of each stack; those of trend and of seasonality share their weights"""
    series: Annotated[int, Field(ge=1)] = 8
    """linear mixtures of the features that are decomposed"""
    forecast: Annotated[int, Field(ge=2)] = 8
    """steps of the forecast that the head reads"""
    degree: Annotated[int, Field(ge=0)] = 2
    """of the polynomial trend"""
    shapes: Annotated[int, Field(ge=1)] = 8
    """basis functions that a generic block learns"""

    def network(self, features: int) -> "torch.nn.Module":
        from torch import nn

        def block(back: nn.Module, fore: nn.Module, coefficients: tuple[int, int]) -> nn.Module:
            widths = [self.series * self.steps] + [self.hidden] * self.layers
            return build_block(widths, self.series, coefficients, (back, fore))

        spans = (self.steps, self.forecast)
        stacks = nn.ModuleDict()
        for name, basis in (("trend", trend(*spans, self.degree)), ("seasonality", seasonality(*spans))):
            stacks[name] = block(fixed(basis[0]), fixed(basis[1]), (len(basis[0]), len(basis[1])))
        order = ["trend"] * self.blocks + ["seasonality"] * self.blocks
        for number in range(self.blocks):
            back, fore = (nn.Linear(self.shapes, span) for span in spans)
            stacks[f"generic_{number}"] = block(back, fore, (self.shapes, self.shapes))
            order.append(f"generic_{number}")
        return build(nn.Linear(features, self.series), stacks, order, self.forecast, self.dropout)


def build(
    mix: "torch.nn.Linear", stacks: "torch.nn.ModuleDict", order: list[str], forecast: int, dropout: float
) -> "torch.nn.Module":
    """Chain the blocks by their residuals, sum their forecasts, and put the head behind the sum."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.stacks, self.dropout = mix, stacks, nn.Dropout(dropout)
            self.head = nn.Linear(mix.out_features * forecast, 3)

        def decompose(
            self, x: torch.Tensor
        ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
            """Split b t f into the series b m t, their backcasts, forecasts b m p, and what is left b m t."""
            series = self.mix(x).transpose(1, 2)
            residual, backcasts, forecasts = series, [], []
            for name in order:
                backcast, forecast = self.stacks[name](residual)
                residual = residual - backcast
                backcasts.append(backcast)
                forecasts.append(forecast)
            return series, backcasts, forecasts, residual

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            forecasts = self.decompose(x)[2]
            scores: torch.Tensor = self.head(self.dropout(torch.stack(forecasts).sum(0).flatten(1)))
            return scores

    return Network()


def build_block(
    widths: list[int],
    series: int,
    coefficients: tuple[int, int],
    bases: "tuple[torch.nn.Module, torch.nn.Module]",
) -> "torch.nn.Module":
    """Make a block: b m t to a backcast b m t and a forecast b m p.

    Args:
        widths: of the input and of each fully connected layer.
        series: m.
        coefficients: k of the backcast and of the forecast.
        bases: map coefficients b m k to the backcast and to the forecast.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = itertools.pairwise(widths)
            self.connected = nn.Sequential(*(nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairs))
            self.coefficients = nn.ModuleList(
                nn.Linear(widths[-1], series * k, bias=False) for k in coefficients
            )
            self.bases = nn.ModuleList(bases)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hidden = self.connected(x.flatten(1))
            back, fore = (
                basis(linear(hidden).unflatten(1, (series, -1)))
                for linear, basis in zip(self.coefficients, self.bases, strict=True)
            )
            return back, fore

    return Block()


def fixed(basis: "torch.Tensor") -> "torch.nn.Module":
    """Multiply coefficients b m k by basis functions, shape (k, steps), that are not learned."""
    import torch
    from torch import nn

    class Fixed(nn.Module):
        basis: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("basis", basis, persistent=False)  # a formula, not learned

        def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
            return coefficients @ self.basis

    return Fixed()


def trend(steps: int, forecast: int, degree: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Powers 0 to ``degree`` of time, which runs from 0 to 1: shapes (k, steps) and (k, forecast)."""
    import torch

    powers = torch.arange(degree + 1)[:, None]
    back, fore = ((torch.arange(span) / span) ** powers for span in (steps, forecast))
    return back, fore


def seasonality(steps: int, forecast: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Fourier series of each span: 1, cos(2 pi i t), sin(2 pi i t) for i up to floor(span / 2 - 1)."""
    import torch

    def fourier(span: int) -> torch.Tensor:
        time = torch.arange(span, dtype=torch.float64) / span
        angle = 2 * torch.pi * torch.arange(1, span // 2, dtype=torch.float64)[:, None] * time
        return torch.cat([torch.ones(1, span), angle.cos(), angle.sin()]).float()

    return fourier(steps), fourier(forecast)


MODEL = NBeats
