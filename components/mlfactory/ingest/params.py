"""Parameters of the ingest stage: how a source is read, what is rejected, and what the generator draws."""

from typing import Any, Literal

from pydantic import Field

from mlfactory.common.params import Params as _Params


class Synthetic(_Params):
    """The embedded generator that the source ``synthetic:`` names."""

    bars: int = Field(default=60_000, ge=2)
    seed: int = Field(default=0, ge=0)
    """``mlfactory run`` draws with the run's seed unless this one is set"""
    signal: Literal["planted", "none"] = "planted"
    """``planted``: the next bars drift weakly; ``none``: nothing can be learnt"""
    start: str = Field(default="2022-01-03", pattern=r"^\d{4}-\d{2}-\d{2}$")
    """date of the first session"""
    price: float = Field(default=6000.0, gt=0)
    """first price"""
    volatility: float = Field(default=5e-4, gt=0, le=0.01)
    """standard deviation of a bar's log return in the middle regime"""


class Params(_Params):
    """How a source becomes bars; the defaults suit a clean file of UTC open times."""

    columns: dict[str, str] = Field(default={})
    """our name to the source's name, for columns that are called differently"""
    header: list[str] = Field(default=[])
    """a CSV file's column names, in place of its header line if it has one; ``date`` and ``time`` are joined"""
    timestamp_format: str = ""
    """strptime format of text stamps; empty: ISO 8601"""
    timezone: str = "UTC"
    """zone of stamps that state none"""
    stamp: Literal["open", "close"] = "open"
    """whether the source stamps a bar by its first instant or by its end"""
    bar_minutes: int = Field(default=0, ge=0, le=1440)
    """0: the most frequent step between stamps"""
    last: int = Field(default=0, ge=0)
    """0: all rows; otherwise only the last so many rows in order of time"""
    max_gap_minutes: int = Field(default=30, ge=0)
    """open-market minutes that may be missing between two bars of a segment"""
    max_rejected: float = Field(default=0.2, ge=0, le=1)
    """largest share of rows that may be defective; rows outside the session calendar do not count here"""
    max_outside: float = Field(default=0.5, ge=0, le=1)
    """largest share of rows outside the session calendar: above it, instrument or time zone are wrong"""
    instrument: dict[str, Any] = Field(default={})
    """an own instrument's entry, or fields that replace those of a known one"""
    synthetic: Synthetic = Synthetic()
