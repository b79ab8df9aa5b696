"""Parameters of the dataset stage."""

from typing import Literal

from pydantic import Field

from mlfactory.common.params import Params as Base


class Params(Base):
    """Which rows and columns models see, and how rows are parted."""

    scheme: Literal["kfold", "walk_forward", "combinatorial"] = "kfold"
    """``kfold`` holds out each block once and trains on both sides of it, ``walk_forward`` trains on the past alone,
    ``combinatorial`` holds out every choice of ``held_out_blocks`` blocks"""
    n_folds: int = Field(default=5, ge=2)
    """blocks that are held out; combinatorial: blocks to choose from"""
    held_out_blocks: int = Field(default=2, ge=1)
    """combinatorial: blocks held out at once; n_folds choose held_out_blocks are the models to fit per job"""
    train_blocks: int = Field(default=0, ge=0)
    """walk-forward: blocks to train on before each held-out one; 0 is all of them"""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """last share of the rows, in time, that is locked away"""
    inner_fraction: float = Field(default=0.15, ge=0, lt=1)
    """last share of each fold's training rows that validates early stopping"""
    purge_by: Literal["position", "time"] = "position"
    """compare label spans by bar position, or by timestamp"""
    embargo_bars: int = Field(default=0, ge=0)
    """bars after each held-out label in which no training row may start; 0 is the longest label's time limit"""
    embargo_minutes: int = Field(default=0, ge=0)
    """likewise where ``purge_by`` is ``time``; 0 is the longest label as it came, halts and weekends included"""
    stride: int = Field(default=1, ge=1)
    """train and predict at every ``stride``-th bar of the calendar, counted from the epoch"""
    feature_sets: dict[str, list[str]] = Field(default={})
    """columns or ``group:NAME`` of a set of your own, or in place of the choice of ``boosting_optimal`` or
    ``neural_optimal``"""
    extra_sets: dict[Literal["boosting_optimal", "neural_optimal"], list[str]] = Field(default={})
    """sets that a matrix holds besides its own, for models that ``reading`` assigns to them; a run adds those"""
    steps: int = Field(default=60, ge=1)
    """bars per timeframe in a window of ``transformer_raw``"""
    timeframes: tuple[int, ...] = ()
    """timeframes of ``transformer_raw``, in minutes; empty: all of the ladder"""
    channels: Literal["ohlc", "ohlcv"] = "ohlc"
    """what ``transformer_raw`` holds of a bar: its prices, or its volume too"""
