"""A small neural network on the base models' log-probabilities, for combinations that are not linear."""

import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.protocol import (
    N_CLASSES,
    Classes,
    Model,
    Sample,
    checked,
    one_thread,
    probabilities,
    softmax,
)
from mlfactory.models.stacked import frequencies, log_ratios, purged_tail
from mlfactory.models.storage import read_arrays, refusing, write_arrays

_FILE = "mlp.safetensors"
Layers = list[tuple[Floats, Floats]]
"""slopes (before, after) and intercepts (after,)"""


@dataclass
class MetaMLP(Model):
    """Two hidden layers of rectified units, stopped early on the last rows, behind a gap.

    Training stops after ``patience`` epochs without a better log loss on the last ``tail`` of the rows, and the best
    epoch is kept; where no epoch beats the class frequencies, those are the prediction.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors; "
        "Wolpert (1992), Stacked generalization"
    )

    units: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    epochs: Annotated[int, Field(ge=1)] = 60
    patience: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    l2: Annotated[float, Field(ge=0)] = 1e-2
    batch_rows: Annotated[int, Field(ge=1)] = 256
    tail: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """last share of the rows, which stops the training"""
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out before the tail; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._centre: Floats = np.zeros(0)
        self._spread: Floats = np.ones(0)
        self._layers: Layers = []

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        logs = log_ratios(train.X)
        early, late = purged_tail(len(logs), self.tail, self.gap)
        self._centre, self._spread = logs[early].mean(axis=0), logs[early].std(axis=0)
        self._spread[self._spread < 1e-9] = 1.0
        prior = frequencies(train.y[early], train.weight[early])
        # kept unless an epoch is better: slopes of zero, whose prediction is the frequencies
        self._layers = [(np.zeros(shape), np.zeros(shape[1])) for shape in self._widths()]
        self._layers[-1] = (self._layers[-1][0], np.log(prior))
        self.best_iteration_ = 0
        features = (logs - self._centre) / self._spread
        if len(features[late]):
            with one_thread():
                self._train(features, train, early, late)
        self.n_parameters_ = sum(slope.size + intercept.size for slope, intercept in self._layers)
        return self

    def _train(self, features: Floats, train: Sample, early: slice, late: slice) -> None:
        from sklearn.neural_network import MLPClassifier

        network = MLPClassifier(
            hidden_layer_sizes=self.units,
            alpha=self.l2,
            batch_size=min(self.batch_rows, len(features[early])),
            learning_rate_init=self.learning_rate,
            random_state=self.seed,
        )
        best = self._loss(features[late], train.y[late], train.weight[late], self._layers)
        for epoch in range(1, self.epochs + 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # one call is one epoch, which it says has not converged
                network.partial_fit(
                    features[early],
                    train.y[early],
                    classes=range(N_CLASSES),
                    sample_weight=train.weight[early],
                )
            layers = list(zip(network.coefs_, network.intercepts_, strict=True))
            loss = self._loss(features[late], train.y[late], train.weight[late], layers)
            if loss < best:
                best, self.best_iteration_ = loss, epoch
                self._layers = [(slope.copy(), intercept.copy()) for slope, intercept in layers]
            if epoch - (self.best_iteration_ or 0) >= self.patience:
                break

    def _loss(self, features: Floats, y: Classes, weight: Floats, layers: Layers) -> float:
        p = _forward(features, layers)[np.arange(len(y)), y]
        return float(weight @ -np.log(np.maximum(p, 1e-300)) / weight.sum())

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        return probabilities(_forward((log_ratios(X) - self._centre) / self._spread, self._layers))

    def write(self, folder: Path) -> None:
        arrays = {"centre": self._centre, "spread": self._spread}
        for number, (slope, intercept) in enumerate(self._layers):
            arrays |= {f"slope{number}": slope, f"intercept{number}": intercept}
        write_arrays(folder / _FILE, arrays)

    def read(self, folder: Path) -> None:
        layers = range(len(self.units) + 1)
        names = [f"{kind}{number}" for number in layers for kind in ("slope", "intercept")]
        arrays = read_arrays(folder / _FILE, ("centre", "spread", *names))
        self._centre, self._spread = arrays["centre"], arrays["spread"]
        self._layers = [(arrays[f"slope{number}"], arrays[f"intercept{number}"]) for number in layers]
        with refusing(folder / _FILE):
            shapes = [(slope.shape, intercept.shape) for slope, intercept in self._layers]
            if shapes != [((a, b), (b,)) for a, b in self._widths()]:
                raise ValueError("its layers do not fit together")
            if self._centre.shape != (self.features_,) or self._spread.shape != (self.features_,):
                raise ValueError("its scale does not fit the columns")

    def _widths(self) -> list[tuple[int, int]]:
        return list(pairwise((self.features_, *self.units, N_CLASSES)))


def _forward(features: Floats, layers: Layers) -> Floats:
    """Class probabilities, shape (rows, 3)."""
    x = features
    for slope, intercept in layers[:-1]:
        # einsum sums in the same order for one row and for many, so a prediction does not depend on its batch
        x = np.maximum(np.einsum("nf,fd->nd", x, slope) + intercept, 0.0)
    return softmax(np.einsum("nf,fk->nk", x, layers[-1][0]) + layers[-1][1])


MODEL = MetaMLP
