"""LightGBM: gradient boosting of trees that grow leaf by leaf on histograms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.protocol import Classes, Model, Range, Sample, checked, probabilities, shares
from mlfactory.models.storage import refusing

_FILE = "model.txt"


@dataclass
class LightGBM(Model):
    """Boosted trees grown leaf by leaf, the most useful split first."""

    stops_early: ClassVar[bool] = True
    bytes_per_value: ClassVar[int] = 13
    search: ClassVar[Mapping[str, Range]] = {
        "learning_rate": Range(0.01, 0.3, log=True),
        "leaves": Range(4, 64, log=True),
        "min_leaf_rows": Range(20, 1000, log=True),
        "row_share": Range(0.4, 1.0),
        "column_share": Range(0.2, 1.0),
        "l2": Range(0.1, 100.0, log=True),
    }
    source: ClassVar[str] = "Ke et al. (2017), LightGBM: a highly efficient gradient boosting decision tree"

    rounds: Annotated[int, Field(ge=1)] = 300
    patience: Annotated[int, Field(ge=1)] = 30
    """rounds without improvement on the validation rows before boosting stops"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    leaves: Annotated[int, Field(ge=2)] = 8
    min_leaf_rows: Annotated[int, Field(ge=1)] = 200
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    column_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    l2: Annotated[float, Field(ge=0)] = 5.0
    bins: Annotated[int, Field(ge=2, le=65_535)] = 128
    """histogram bins per feature; their edges come from the training rows"""

    def __post_init__(self) -> None:
        self._booster: Any = None

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        import lightgbm as lgb

        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        settings = self._library_params()
        data = lgb.Dataset(train.X, train.y, weight=train.weight, params=settings)
        watched: list[lgb.Dataset] = []
        callbacks: list[Callable[..., Any]] = []
        if validation is not None:
            inner = checked(*validation)
            watched = [lgb.Dataset(inner.X, inner.y, weight=inner.weight, reference=data, params=settings)]
            callbacks = [lgb.early_stopping(self.patience, verbose=False)]
        booster = lgb.train(settings, data, self.rounds, valid_sets=watched, callbacks=callbacks)
        kept = booster.best_iteration if validation is not None else booster.current_iteration()
        # the text keeps only the rounds that early stopping kept: what is saved is what predicts
        self._booster = lgb.Booster(model_str=booster.model_to_string(num_iteration=kept))
        self.best_iteration_ = int(kept)
        self.importance_ = shares(self._booster.feature_importance("gain").tolist())
        return self

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes of a fit: rows, their bins, and a histogram of every column for each leaf."""
        return {
            **super().memory_estimate(rows, columns),
            "histograms": 24 * self.leaves * columns * self.bins,
        }

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        return probabilities(self._booster.predict(X, num_threads=1))

    def write(self, folder: Path) -> None:
        (folder / _FILE).write_text(self._booster.model_to_string(), encoding="utf-8")

    def read(self, folder: Path) -> None:
        import lightgbm as lgb

        with refusing(folder / _FILE, lgb.basic.LightGBMError):
            self._booster = lgb.Booster(model_str=(folder / _FILE).read_text(encoding="utf-8"))
            if self._booster.num_model_per_iteration() != 3:
                raise ValueError("it does not tell three classes apart")
            if self._booster.num_feature() != self.features_:
                raise ValueError(f"it reads {self._booster.num_feature()} columns, not {self.features_}")

    def _library_params(self) -> dict[str, Any]:
        return {
            "objective": "multiclass",
            "num_class": 3,
            "metric": "multi_logloss",
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "seed": self.seed,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_leaf_rows,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "feature_fraction": self.column_share,
            "lambda_l2": self.l2,
            "max_bin": self.bins,
        }


MODEL = LightGBM
