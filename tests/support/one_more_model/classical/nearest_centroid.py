"""A model that the package does not have: classes by the distance to their mean row."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlfactory.models.protocol import Model, checked, probabilities, softmax
from mlfactory.models.storage import read_arrays, write_arrays


@dataclass
class NearestCentroid(Model):
    """Softmax of negative squared distances to each class's mean row."""

    scaling: ClassVar[str] = "standard"
    source: ClassVar[str] = (
        "Tibshirani et al. (2002), Diagnosis of multiple cancer types by shrunken centroids"
    )

    sharpness: float = 0.1

    def fit(self, X, y, weight, validation=None):
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        total = np.stack([(train.weight * (train.y == k)) @ train.X for k in range(3)])
        counts = np.array([train.weight[train.y == k].sum() for k in range(3)])
        self.centroids = total / np.maximum(counts, 1e-12)[:, None]
        return self

    def predict_proba(self, X):
        self.readable(X)
        distance = ((X[:, None, :] - self.centroids) ** 2).mean(axis=2)
        return probabilities(softmax(-self.sharpness * distance))

    def write(self, folder):
        write_arrays(folder / "centroids.safetensors", {"centroids": self.centroids})

    def read(self, folder):
        self.centroids = read_arrays(folder / "centroids.safetensors", ("centroids",))["centroids"]


MODEL = NearestCentroid
