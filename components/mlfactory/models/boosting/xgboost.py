"""XGBoost: second-order gradient boosting of trees on histograms."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models import ubjson
from mlfactory.models.protocol import Classes, Model, Range, Sample, checked, probabilities, shares
from mlfactory.models.storage import refusing

_FILE = "model.ubj"


@dataclass
class XGBoost(Model):
    """Boosted trees with second-order gradients and L2-regularised leaves."""

    stops_early: ClassVar[bool] = True
    bytes_per_value: ClassVar[int] = 10
    search: ClassVar[Mapping[str, Range]] = {
        "learning_rate": Range(0.01, 0.3, log=True),
        "max_depth": Range(2, 8),
        "min_child_weight": Range(1.0, 500.0, log=True),
        "row_share": Range(0.4, 1.0),
        "column_share": Range(0.2, 1.0),
        "l2": Range(0.1, 100.0, log=True),
    }
    source: ClassVar[str] = "Chen and Guestrin (2016), XGBoost: a scalable tree boosting system"

    rounds: Annotated[int, Field(ge=1)] = 300
    patience: Annotated[int, Field(ge=1)] = 30
    """rounds without improvement on the validation rows before boosting stops"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    max_depth: Annotated[int, Field(ge=1, le=12)] = 3
    min_child_weight: Annotated[float, Field(ge=0)] = 50.0
    """smallest sum of second derivatives in a leaf; a row of weight 1 adds at most 1/2"""
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    column_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    l2: Annotated[float, Field(ge=0)] = 5.0
    bins: Annotated[int, Field(ge=2, le=65_535)] = 128
    """histogram bins per feature; their edges come from the training rows"""

    def __post_init__(self) -> None:
        self._booster: Any = None

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        import xgboost as xgb

        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        data = xgb.QuantileDMatrix(train.X, train.y, weight=train.weight, max_bin=self.bins, nthread=1)
        watched, callbacks = [], []
        if validation is not None:
            inner = checked(*validation)
            held = xgb.QuantileDMatrix(
                inner.X, inner.y, weight=inner.weight, ref=data, max_bin=self.bins, nthread=1
            )
            watched = [(held, "inner")]
            callbacks = [xgb.callback.EarlyStopping(rounds=self.patience, save_best=True)]
        self._booster = xgb.train(
            self._library_params(),
            data,
            num_boost_round=self.rounds,
            evals=watched,
            callbacks=callbacks,
            verbose_eval=False,
        )
        self.best_iteration_ = self._booster.num_boosted_rounds()
        gain = self._booster.get_score(importance_type="total_gain")
        self.importance_ = shares([float(gain.get(f"f{j}", 0.0)) for j in range(X.shape[1])])
        return self

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes of a fit: rows, their bins, and histograms of the last level's nodes."""
        return {
            **super().memory_estimate(rows, columns),
            "histograms": 16 * (1 << self.max_depth) * columns * self.bins,
        }

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        import xgboost as xgb

        self.readable(X)
        return probabilities(self._booster.predict(xgb.DMatrix(np.asarray(X, np.float32), nthread=1)))

    def write(self, folder: Path) -> None:
        (folder / _FILE).write_bytes(self._booster.save_raw("ubj"))

    def read(self, folder: Path) -> None:
        import xgboost as xgb

        with refusing(folder / _FILE, xgb.core.XGBoostError):
            content = (folder / _FILE).read_bytes()
            _check(ubjson.parse(content), self.features_)
            self._booster = xgb.Booster({"nthread": 1}, model_file=bytearray(content))

    def _library_params(self) -> dict[str, Any]:
        return {
            "objective": "multi:softprob",
            "num_class": 3,
            "eval_metric": "mlogloss",
            "tree_method": "hist",
            "device": "cpu",
            "nthread": 1,
            "seed": self.seed,
            "eta": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.row_share,
            "colsample_bytree": self.column_share,
            "lambda": self.l2,
            "max_bin": self.bins,
        }


def _check(document: Any, columns: int) -> None:
    """Refuse trees whose nodes point outside themselves or ask for a column that does not exist."""
    learner = document["learner"]
    if int(learner["learner_model_param"]["num_feature"]) != columns:
        raise ValueError(f"it does not read {columns} columns")
    if learner["objective"]["name"] != "multi:softprob" or learner["learner_model_param"]["num_class"] != "3":
        raise ValueError("it does not tell three classes apart")
    for tree in learner["gradient_booster"]["model"]["trees"]:
        left, right = tree["left_children"], tree["right_children"]
        inner = np.flatnonzero(left != -1)
        below = np.stack([left[inner], right[inner]])
        asked = tree["split_indices"][inner]
        if not ((below > inner).all() and (below < len(left)).all()):
            raise ValueError("a node's child is not one of the nodes after it")
        if not ((asked >= 0).all() and (asked < columns).all()):
            raise ValueError("a node asks for a column that does not exist")


MODEL = XGBoost
