"""A model for tests of multi-resolution windows that needs no network: softmax regression on their flat values."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import MultiResolutionDataset
from mlfactory.models.protocol import Model, probabilities, softmax


@dataclass
class LinearWindows(Model):
    """Softmax regression on every value of a window, by full-batch gradient descent."""

    input: ClassVar[str] = "multi_resolution"
    source: ClassVar[str] = "nobody (2000)"
    steps: int = 60
    epochs: int = 60

    def fit(self, X, y, weight, validation=None):
        values = self._values(X)
        self.features_ = values.shape[1]
        target = np.eye(3)[y]
        share = (weight / weight.sum())[:, None]
        self.coefficients = np.zeros((self.features_, 3))
        rate = 1.0 / (share * values**2).sum()
        for _ in range(self.epochs):
            p = softmax(values @ self.coefficients)
            self.coefficients -= rate * values.T @ (share * (p - target))
        self.timeframes_ = len(X.timeframes)
        return self

    def predict_proba(self, X):
        return probabilities(softmax(self._values(X) @ self.coefficients))

    def write(self, folder):
        np.save(folder / "coefficients.npy", self.coefficients)

    def read(self, folder):
        self.coefficients = np.load(folder / "coefficients.npy", allow_pickle=False)

    def _values(self, X):
        if not isinstance(X, MultiResolutionDataset):
            raise InputError(f"LinearWindows reads multi-resolution windows, not {type(X).__name__}")
        flat = X.gather(np.arange(len(X))).reshape(len(X), -1)
        return np.c_[flat, np.ones(len(X))].astype(np.float64)


MODEL = LinearWindows
