"""Parameters of the labels stage, and the one table of default barriers."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import AwareDatetime, Field

from mlfactory.common.errors import InputError
from mlfactory.common.params import Params as Base


class Barrier(Base):
    """When the trades of one horizon end."""

    take_profit: float = Field(gt=0)
    """distance of the profit barrier from the fill, net of cost, in ATR"""
    stop_loss: float = Field(gt=0)
    """distance of the stop barrier from the fill, in ATR"""
    max_bars: int = Field(ge=1)
    """time limit: the trade ends at the close of the ``max_bars``-th bar after the signal"""


def _table(take_profit: tuple[float, ...], stop_loss: tuple[float, ...]) -> dict[int, Barrier]:
    rows = zip((5, 10, 15, 20), take_profit, stop_loss, (12, 25, 38, 50), strict=True)
    return {
        horizon: Barrier(take_profit=profit, stop_loss=stop, max_bars=bars)
        for horizon, profit, stop, bars in rows
    }


_EQUITY_INDEX = _table((1.5, 2.0, 2.5, 3.0), (1.0, 1.4, 1.75, 2.1))
_GOLD = _table((1.2, 1.6, 2.0, 2.5), (1.2, 1.6, 2.0, 2.5))
_OTHER = _table((1.35, 1.8, 2.25, 2.75), (1.1, 1.35, 1.7, 2.3))
BARRIERS: Final[Mapping[str, Mapping[int, Barrier]]] = {
    "MES": _EQUITY_INDEX,
    "ES": _EQUITY_INDEX,
    "MGC": _GOLD,
    "GC": _GOLD,
}
"""default barriers per symbol and horizon; every other symbol has those of ``_OTHER``"""


class Params(Base):
    """What is labelled, and the rules of the trades."""

    horizons: tuple[int, ...] = Field(default=(20,), min_length=1)
    """names of rows in the table of barriers"""
    barriers: dict[str, Barrier] = Field(default={})
    """per horizon, in place of the table's row; a horizon that the table does not know needs one"""
    entry: Literal["next_open", "close"] = "next_open"
    """fill at the open of bar t+1, or at the close of bar t"""
    ambiguous: Literal["stop_first", "invalid", "nearest"] = "stop_first"
    """which barrier counts when one bar reaches both: the stop, none (no label), or the nearer to its open"""
    timeout_sign: bool = False
    """label a trade that reaches the time limit by the sign of its net return, instead of 0"""
    max_gap: int = Field(default=30, ge=0)
    """longest wait between the close of bar t and the open of t+1, in minutes; after a longer one (a
    daily halt, a weekend) the row is invalid"""
    rolls: tuple[AwareDatetime, ...] = ()
    """instants, with their zone, from which on an unadjusted series is of the next contract; no trade and no true range
    straddles one, and a trade that would be open then is invalid"""
    atr_bars: int = Field(default=14, ge=1)
    """bars whose mean true range is the unit of the barriers"""
    volatile_slippage: float = Field(default=1.0, ge=1)
    """multiple of the slippage in volatile bars; 1 charges every bar the same"""
    volatile_ratio: float = Field(default=1.5, gt=0)
    """a bar is volatile when its ATR exceeds this multiple of the mean true range of the last ``volatile_bars``"""
    volatile_bars: int = Field(default=390, ge=1)

    @property
    def lookback(self) -> int:
        """Bars, up to and including a row, that set its barriers and costs."""
        return 1 + (self.atr_bars if self.volatile_slippage == 1 else max(self.atr_bars, self.volatile_bars))

    def barrier(self, horizon: int, symbol: str) -> Barrier:
        """Find the barriers of one horizon.

        Raises:
            InputError: neither the parameters nor the table know the horizon.
        """
        if str(horizon) in self.barriers:
            return self.barriers[str(horizon)]
        table = BARRIERS.get(symbol, _OTHER)
        if horizon not in table:
            known = ", ".join(str(h) for h in table)
            raise InputError(
                f"labels.horizons holds {horizon}, which has no default barriers (known: {known}); "
                f"state them in labels.barriers.{horizon}"
            )
        return table[horizon]
