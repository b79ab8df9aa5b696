"""Small learning problems for every kind of model, and hyper-parameters that fit them in a blink."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlfactory.common.windows import Windows
from mlfactory.models.protocol import Model, Sample
from mlfactory.models.registry import models

SHRUNK: dict[str, Any] = {
    "rounds": 40,
    "trees": 30,
    "patience": 5,
    "learning_rate": 0.1,
    "min_leaf_rows": 5,
    "min_child_weight": 1.0,
    "C": 0.1,
    "steps": 5,
    "epochs": 8,
    "batch_rows": 32,
    "hidden": 8,
    "layers": 1,
    "dropout": 0.1,
    "gap": 5,
}
"""Applied to every model that has the field."""
OWN: dict[str, dict[str, Any]] = {
    "lstm": {"learning_rate": 0.02},
    "gru": {"learning_rate": 0.02},
    "tcn": {"kernel": 2, "learning_rate": 0.02},
    "transformer": {"heads": 2, "expansion": 2, "learning_rate": 0.01},
    "nbeats": {"layers": 2, "blocks": 1, "series": 4, "forecast": 4, "shapes": 3, "learning_rate": 0.01},
    "inceptiontime": {
        "blocks": 3,
        "filters": 4,
        "bottleneck": 4,
        "kernels": (1, 3, 5),
        "learning_rate": 0.02,
    },
    "resnet1d": {"filters": 6, "kernels": (3, 2, 1), "learning_rate": 0.02},
    "patchtst": {"heads": 2, "patch": 2, "stride": 1, "learning_rate": 0.02, "epochs": 12},
    "itransformer": {"heads": 2, "learning_rate": 0.01},
    "tft": {"heads": 2, "learning_rate": 0.02},
    "meta_mlp": {"units": (8, 4), "learning_rate": 0.01, "epochs": 30},
}
FEATURES = 6
CONSTANT = 4
"""Column of the tables that never changes."""


def toy(name: str, **changes: Any) -> dict[str, Any]:
    """Hyper-parameters of a model at toy size."""
    defaults = models()[name].defaults
    small = {key: value for key, value in SHRUNK.items() if key in defaults}
    return {**small, **OWN.get(name, {}), **changes}


@dataclass
class Problem:
    """Rows of a table with classes, cut into training, validation and test rows."""

    table: np.ndarray
    y: np.ndarray
    train: Sample
    inner: Sample
    test: Sample

    @property
    def prior(self) -> float:
        """Log loss on the test rows of the training rows' class frequencies."""
        return log_loss(
            np.tile(np.bincount(self.train.y, minlength=3) / len(self.train.y), (len(self.test.y), 1)), self
        )


def problem(
    kind: type[Model], *, seed: int = 0, rows: int = 480, signal: float = 3.0, combiner: bool = False
) -> Problem:
    """Draw rows whose class depends on the first column; with ``signal`` 0 on nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    x[:, CONSTANT] = 2.5
    score = signal * x[:, :1] * np.array([-1.0, 0.0, 1.0])
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    y = (rng.random(rows)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(max=2).astype(np.int8)
    if combiner:  # two base models: one sees the score through noise, one sees nothing
        noisy = np.stack([0.5 * score + rng.normal(size=(rows, 3)), rng.normal(size=(rows, 3))], axis=1)
        x = (np.exp(noisy) / np.exp(noisy).sum(axis=2, keepdims=True)).reshape(rows, FEATURES)
    a, b = rows // 2, rows * 3 // 4
    cuts = [np.arange(8, a), np.arange(a, b), np.arange(b, rows)]
    return Problem(x, y, *(sample(kind, x, y, cut) for cut in cuts))


def sample(kind: type[Model], table: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Sample:
    """Rows of a table as the model reads them, all of weight 1."""
    X = table[rows] if kind.input == "tabular" else Windows(table, rows, SHRUNK["steps"])
    return Sample(X, y[rows], np.ones(len(rows)))


def log_loss(probability: np.ndarray, problem: Problem) -> float:
    """Mean log loss on the test rows."""
    y = problem.test.y
    return float(-np.log(np.maximum(probability[np.arange(len(y)), y], 1e-12)).mean())
