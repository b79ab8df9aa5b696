"""Parameters of the regimes: what counts as calm, trending or mean-reverting, and how the HMM is fitted."""

from typing import Literal, Self

from pydantic import Field, model_validator

from mlfactory.common.params import Params as Base

Observation = Literal["return", "volatility", "range"]


class Params(Base):
    """Windows in bars, thresholds, and the hidden Markov model."""

    atr_period: int = Field(default=14, ge=2)
    """Wilder's average true range, bars"""
    volatility_window: int = Field(default=100, ge=2)
    """bars among which the range is ranked"""
    low_quantile: float = Field(default=0.25, gt=0, lt=1)
    high_quantile: float = Field(default=0.75, gt=0, lt=1)

    adx_period: int = Field(default=14, ge=2)
    """Wilder's directional index, bars"""
    adx_threshold: float = Field(default=25.0, ge=0, le=100)
    """above it the market trends"""
    average_bars: int = Field(default=50, ge=2)
    """the side of this moving average is the trend's direction"""

    hurst_window: int = Field(default=100, ge=25)
    hurst_low: float = Field(default=0.4, ge=0, le=1)
    """below it prices revert to the mean"""
    hurst_high: float = Field(default=0.6, ge=0, le=1)
    """above it moves persist"""

    n_states: int = Field(default=3, ge=2, le=4)
    observations: list[Observation] = Field(default=["return", "volatility"])
    """log return and log realised volatility; ``range`` adds the log of the bar's range"""
    realised_bars: int = Field(default=20, ge=2)
    """bars of the realised volatility"""
    refit_sessions: int = Field(default=1, ge=1)
    """the HMM is fitted again at the first bar of each period of this many days"""
    window_bars: int = Field(default=2880, ge=50)
    """observations before a refit that it is fitted on"""
    burn_in_bars: int = Field(default=250, ge=1)
    """observations before a refit over which the filter forgets its start"""
    iterations: int = Field(default=50, ge=1)
    """most steps of expectation-maximisation per fit"""
    tolerance: float = Field(default=1e-5, ge=0)
    """a fit ends when a step gains less log likelihood than this, in nats per observation"""
    stickiness: float = Field(default=0.95, gt=0, lt=1)
    """probability of staying in a state from which each fit starts"""
    warm_start: bool = False
    """each fit starts from the fit before: fewer steps, but values depend on every earlier bar of the segment, which
    the artifact declares as an unbounded look-back, and on where the series starts"""
    engine: Literal["numba", "hmmlearn"] = "numba"
    """``hmmlearn`` gives the same numbers some hundred times slower: it is the check on the other"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.observations[:2] != ["return", "volatility"] or len(set(self.observations)) < len(
            self.observations
        ):
            raise ValueError("observations start with return and volatility, each named once")
        if self.low_quantile >= self.high_quantile or self.hurst_low >= self.hurst_high:
            raise ValueError("a low threshold must be below its high one")
        if self.burn_in_bars > self.window_bars:
            raise ValueError("burn_in_bars must not exceed window_bars: the filter starts inside the window")
        return self
