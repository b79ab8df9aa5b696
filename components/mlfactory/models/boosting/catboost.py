"""CatBoost: gradient boosting of symmetric trees."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.protocol import Classes, Model, Range, Sample, checked, probabilities, shares
from mlfactory.models.storage import refusing

_FILE = "model.cbm"
_VOLATILE = {"model_guid": "0", "train_finish_time": "0"}
"""metadata that CatBoost fills with a random number and the clock"""


@dataclass
class CatBoost(Model):
    """Boosted symmetric trees: every node of a level asks the same question."""

    stops_early: ClassVar[bool] = True
    bytes_per_value: ClassVar[int] = 8
    search: ClassVar[Mapping[str, Range]] = {
        "learning_rate": Range(0.01, 0.3, log=True),
        "depth": Range(2, 8),
        "row_share": Range(0.4, 1.0),
        "l2": Range(0.1, 100.0, log=True),
    }
    source: ClassVar[str] = (
        "Prokhorenkova et al. (2018), CatBoost: unbiased boosting with categorical features"
    )

    rounds: Annotated[int, Field(ge=1)] = 300
    patience: Annotated[int, Field(ge=1)] = 30
    """rounds without improvement on the validation rows before boosting stops"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    depth: Annotated[int, Field(ge=1, le=10)] = 4
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    l2: Annotated[float, Field(ge=0)] = 5.0
    bins: Annotated[int, Field(ge=2, le=255)] = 64
    """histogram bins per feature; their edges come from the training rows"""

    def __post_init__(self) -> None:
        self._booster: Any = None

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        from catboost import CatBoostClassifier, Pool

        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        held = None
        if validation is not None:
            inner = checked(*validation)
            held = Pool(inner.X, inner.y, weight=inner.weight, thread_count=1)
        stopping = {"od_type": "Iter", "od_wait": self.patience, "use_best_model": True} if held else {}
        self._booster = CatBoostClassifier(**self._library_params(), **stopping)
        self._booster.fit(Pool(train.X, train.y, weight=train.weight, thread_count=1), eval_set=held)
        for name, constant in _VOLATILE.items():
            self._booster.get_metadata()[name] = constant
        self.best_iteration_ = int(self._booster.tree_count_)
        self.importance_ = shares(self._booster.get_feature_importance(thread_count=1).tolist())
        return self

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes of a fit: rows, their bins, and a histogram of every column for each leaf."""
        return {
            **super().memory_estimate(rows, columns),
            "histograms": 24 * (1 << self.depth) * columns * self.bins,
        }

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        raw = self._booster.predict_proba(np.ascontiguousarray(X, np.float32), thread_count=1)
        return probabilities(raw)

    def write(self, folder: Path) -> None:
        self._booster.save_model(str(folder / _FILE), format="cbm")

    def read(self, folder: Path) -> None:
        from catboost import CatBoostClassifier, CatBoostError

        with refusing(folder / _FILE, CatBoostError):
            self._booster = CatBoostClassifier()
            self._booster.load_model(blob=(folder / _FILE).read_bytes())
            if len(self._booster.classes_) != 3:
                raise ValueError("it does not tell three classes apart")
            if len(self._booster.feature_names_) > self.features_:
                raise ValueError(
                    f"it reads {len(self._booster.feature_names_)} columns, not {self.features_}"
                )

    def _library_params(self) -> dict[str, Any]:
        return {
            "loss_function": "MultiClass",
            "classes_count": 3,
            "iterations": self.rounds,
            "learning_rate": self.learning_rate,
            "depth": self.depth,
            "l2_leaf_reg": self.l2,
            "border_count": self.bins,
            "bootstrap_type": "Bernoulli",
            "subsample": self.row_share,
            "boosting_type": "Plain",
            "nan_mode": "Forbidden",
            "random_seed": self.seed,
            "thread_count": 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }


MODEL = CatBoost
