"""Multinomial logistic regression: the linear model of class probabilities."""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.common.scaling import Scaling
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.protocol import (
    Classes,
    Sample,
    checked,
    one_thread,
    probabilities,
    shares,
    softmax,
)
from mlfactory.models.storage import Arrays


@dataclass
class Logistic(ArrayModel):
    """Softmax of linear scores, with an L2 penalty on the slopes."""

    scaling: ClassVar[Scaling] = "standard"
    bytes_per_value: ClassVar[int] = 8  # in double precision
    source: ClassVar[str] = (
        "Cox (1966), Some procedures connected with the logistic qualitative response curve"
    )

    C: Annotated[float, Field(gt=0)] = 1e-5
    """inverse strength of the penalty: C times the summed loss is weighed against half the squared slopes"""
    max_iterations: Annotated[int, Field(ge=1)] = 200
    """L-BFGS steps at most; stopping early shrinks the slopes a little more"""

    def __post_init__(self) -> None:
        self._slope: Floats = np.zeros((0, 0))
        self._intercept: Floats = np.zeros(0)
        self._classes: NDArray[np.int64] = np.zeros(0, np.int64)

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        self._classes = np.unique(train.y).astype(np.int64)
        k = len(self._classes)
        self._slope, self._intercept = np.zeros((k, X.shape[1])), np.zeros(k)
        if k > 1:
            self._regress(train)
        self.n_parameters_ = self._slope.size + self._intercept.size
        self.importance_ = shares(np.abs(self._slope).sum(axis=0).tolist())
        return self

    def _regress(self, train: Sample) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.C, max_iter=self.max_iterations, tol=1e-4)
        with warnings.catch_warnings(), one_thread():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train.X.astype(np.float64), train.y.astype(np.int64), sample_weight=train.weight)
        self.best_iteration_ = int(model.n_iter_[0])
        # with two classes scikit-learn keeps the scores of the second alone; those of the first are zero
        self._slope[-len(model.coef_) :] = model.coef_
        self._intercept[-len(model.coef_) :] = model.intercept_

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        # einsum sums in the same order for one row and for many, so a prediction does not depend on its batch
        scores = np.einsum("nf,kf->nk", X.astype(np.float64), self._slope) + self._intercept
        return probabilities(softmax(scores), self._classes)

    def state(self) -> Arrays:
        return {"slope": self._slope, "intercept": self._intercept, "classes": self._classes}

    def restore(self, arrays: Arrays) -> None:
        self._slope, self._intercept = arrays["slope"], arrays["intercept"]
        self._classes = arrays["classes"]
        k = len(self._classes)
        if k == 0 or self._slope.shape != (k, self.features_) or self._intercept.shape != (k,):
            raise ValueError("its arrays do not fit together")
        if not np.isin(self._classes, range(3)).all():
            raise ValueError("its classes are not 0, 1, 2")


MODEL = Logistic
