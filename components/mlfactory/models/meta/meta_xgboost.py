"""Shallow boosted trees on the base models' log-probabilities: when to trust which model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.boosting.xgboost import XGBoost
from mlfactory.models.protocol import Classes, Range, Sample, checked
from mlfactory.models.stacked import log_ratios, purged_tail


@dataclass
class MetaXGBoost(XGBoost):
    """Boosted trees of depth two, stopped early on the last rows, behind a gap.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Chen and Guestrin (2016), XGBoost: a scalable tree boosting system; Wolpert (1992), Stacked generalization"
    )

    stops_early: ClassVar[bool] = False  # on its own last rows alone
    search: ClassVar[Mapping[str, Range]] = {}

    rounds: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 15
    """rounds without improvement on the last rows before boosting stops"""
    max_depth: Annotated[int, Field(ge=1, le=12)] = 2
    column_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    tail: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """last share of the rows, which stops the boosting"""
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out before the tail; at least the longest label's rows"""

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        logs = log_ratios(train.X).astype(np.float32)
        early, late = purged_tail(len(logs), self.tail, self.gap)
        held = Sample(logs[late], train.y[late], train.weight[late]) if len(logs[late]) else None
        return super().fit(logs[early], train.y[early], train.weight[early], held)

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        return super().predict_proba(log_ratios(X).astype(np.float32))


MODEL = MetaXGBoost
