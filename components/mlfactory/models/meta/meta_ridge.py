"""Ridge stacking: class scores by ridge regression on the base models' log-probabilities, then calibrated."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.protocol import (
    N_CLASSES,
    Classes,
    Sample,
    checked,
    one_thread,
    probabilities,
    softmax,
)
from mlfactory.models.stacked import calibrate, log_ratios, purged_blocks
from mlfactory.models.storage import Arrays

_ARRAYS = ("centre", "spread", "slope", "calibration")


@dataclass
class MetaRidge(ArrayModel):
    """Ridge scores of the stacked log-probabilities, made probabilities by a cross-fitted softmax.

    1. Features: for each base model, log-probabilities minus their mean over the three classes, standardised.
    2. Scores: ridge regression of the class indicators (minus their frequencies) on the features, as in
       scikit-learn's RidgeClassifier.
    3. Probabilities: ``softmax(sharpness * scores + bias)``. Sharpness (at least zero) and biases have the
       best log loss on scores of rows that their regression did not see: ``blocks`` contiguous blocks, each
       scored by a regression on the others without the ``gap`` rows on either side, whose labels may overlap.

    Base models that know nothing get a sharpness near zero, which leaves the class frequencies.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Hoerl and Kennard (1970), Ridge regression; Wolpert (1992), Stacked generalization"
    )

    alpha: Annotated[float, Field(gt=0)] = 0.01
    """ridge penalty, as a share of the summed weight"""
    blocks: Annotated[int, Field(ge=2)] = 5
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out on either side of a scored block; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._centre: Floats = np.zeros(0)
        self._spread: Floats = np.ones(0)
        self._slope: Floats = np.zeros((0, N_CLASSES))
        self._calibration: Floats = np.zeros(1 + N_CLASSES)  # sharpness, then a bias per class

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        logs = log_ratios(train.X)
        self._centre, self._spread = logs.mean(axis=0), logs.std(axis=0)
        self._spread[self._spread < 1e-9] = 1.0
        features = (logs - self._centre) / self._spread
        with one_thread():
            self._slope = self._ridge(features, train.y, train.weight)
            scores = self._cross_fitted(features, train)
            self._calibration = calibrate(scores, train.y, train.weight)
        self.n_parameters_ = self._slope.size + self._calibration.size
        return self

    def _ridge(self, features: Floats, y: Classes, weight: Floats) -> Floats:
        """Regress class indicators, shape (rows, 3), on features; slopes of shape (features, 3)."""
        total = max(float(weight.sum()), 1e-12)
        centre = weight @ features / total
        indicator = np.eye(N_CLASSES)[y]
        weighted = (features - centre) * weight[:, None]
        gram = weighted.T @ (features - centre) + self.alpha * total * np.eye(features.shape[1])
        return np.asarray(np.linalg.solve(gram, weighted.T @ (indicator - weight @ indicator / total)))

    def _cross_fitted(self, features: Floats, train: Sample) -> Floats:
        """Score every row by a regression on rows away from it; zero where none are left."""
        n = len(features)
        scores = np.zeros((n, N_CLASSES))
        for block, away in purged_blocks(n, self.blocks, self.gap):
            if away.any():
                scores[block] = features[block] @ self._ridge(
                    features[away], train.y[away], train.weight[away]
                )
        return scores

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        features = (log_ratios(X) - self._centre) / self._spread
        # einsum sums in the same order for one row and for many, so a prediction does not depend on its batch
        scores = np.einsum("nf,fk->nk", features, self._slope)
        return probabilities(softmax(self._calibration[0] * scores + self._calibration[1:]))

    def state(self) -> Arrays:
        return {name: getattr(self, f"_{name}") for name in _ARRAYS}

    def restore(self, arrays: Arrays) -> None:
        for name in _ARRAYS:
            setattr(self, f"_{name}", arrays[name])
        shapes = ((self.features_,), (self.features_,), (self.features_, N_CLASSES), (1 + N_CLASSES,))
        if tuple(arrays[name].shape for name in _ARRAYS) != shapes:
            raise ValueError("its arrays do not fit together")


MODEL = MetaRidge
