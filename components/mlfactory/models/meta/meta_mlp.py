"""A small neural network on the base models' log-probabilities, for combinations that are not linear."""

from dataclasses import dataclass
from itertools import pairwise
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

Layers = list[tuple[Floats, Floats]]
"""slopes (before, after) and intercepts (after,)"""


@dataclass
class MetaMLP(ArrayModel):
    """Two hidden layers of rectified units; epochs and sharpness are found on rows that the network did not see.

    ``blocks`` networks train side by side, each without one contiguous block of rows and the ``gap`` rows beside it,
    and score that block after every epoch. The epoch whose scores, once calibrated, have the best log loss over all
    blocks says how long the network of all rows trains, and its calibration turns that network's scores into
    probabilities. Where no epoch beats the class frequencies, those are the prediction.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors; "
        "Wolpert (1992), Stacked generalization"
    )

    units: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    epochs: Annotated[int, Field(ge=1)] = 60
    patience: Annotated[int, Field(ge=1)] = 5
    """epochs without a better log loss before training stops"""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    l2: Annotated[float, Field(ge=0)] = 1.0
    batch_rows: Annotated[int, Field(ge=1)] = 256
    blocks: Annotated[int, Field(ge=2)] = 3
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out on either side of a scored block; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._centre: Floats = np.zeros(0)
        self._spread: Floats = np.ones(0)
        self._layers: Layers = []
        self._calibration: Floats = np.zeros(1 + N_CLASSES)

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        logs = log_ratios(train.X)
        self._centre, self._spread = logs.mean(axis=0), logs.std(axis=0)
        self._spread[self._spread < 1e-9] = 1.0
        train = train._replace(X=(logs - self._centre) / self._spread)
        with one_thread():
            self.best_iteration_, self._calibration = self._cross_fit(train)
            whole = _Network(self)
            for _ in range(self.best_iteration_):
                whole.epoch(train)
        self._layers = whole.layers
        self.n_parameters_ = sum(slope.size + intercept.size for slope, intercept in self._layers)
        return self

    def _cross_fit(self, train: Sample) -> tuple[int, Floats]:
        """Find the epochs and the calibration with the best log loss on blocks that were left out."""
        parts = [
            (block, Sample(train.X[away], train.y[away], train.weight[away]), _Network(self))
            for block, away in purged_blocks(len(train.X), self.blocks, self.gap)
            if away.any()
        ]
        scores = np.zeros((len(train.X), N_CLASSES))
        found = calibrate(scores, train.y, train.weight)
        best, epochs = _loss(scores, train, found), 0
        for epoch in range(1, self.epochs + 1):
            for block, rest, network in parts:
                network.epoch(rest)
                scores[block] = _forward(train.X[block], network.layers)
            calibration = calibrate(scores, train.y, train.weight)
            if (loss := _loss(scores, train, calibration)) < best:
                best, epochs, found = loss, epoch, calibration
            if epoch - epochs >= self.patience:
                break
        return epochs, found

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        scores = _forward((log_ratios(X) - self._centre) / self._spread, self._layers)
        return probabilities(softmax(self._calibration[0] * scores + self._calibration[1:]))

    def state(self) -> Arrays:
        arrays = {"centre": self._centre, "spread": self._spread, "calibration": self._calibration}
        for number, (slope, intercept) in enumerate(self._layers or _Network(self).layers):
            arrays |= {f"slope{number}": slope, f"intercept{number}": intercept}
        return arrays

    def restore(self, arrays: Arrays) -> None:
        self._centre, self._spread = arrays["centre"], arrays["spread"]
        self._calibration = arrays["calibration"]
        layers = range(len(self.units) + 1)
        self._layers = [(arrays[f"slope{number}"], arrays[f"intercept{number}"]) for number in layers]
        shapes = [(slope.shape, intercept.shape) for slope, intercept in self._layers]
        if shapes != [((a, b), (b,)) for a, b in self._widths()]:
            raise ValueError("its layers do not fit together")
        if self._centre.shape != (self.features_,) or self._spread.shape != (self.features_,):
            raise ValueError("its scale does not fit the columns")
        if self._calibration.shape != (1 + N_CLASSES,):
            raise ValueError("its calibration is not of three classes")

    def _widths(self) -> list[tuple[int, int]]:
        return list(pairwise((self.features_, *self.units, N_CLASSES)))


class _Network:
    """A network that is trained epoch by epoch; untrained, it gives every class the same score."""

    def __init__(self, model: MetaMLP) -> None:
        self.layers: Layers = [(np.zeros(shape), np.zeros(shape[1])) for shape in model._widths()]
        self._model = model
        self._made: Any = None

    def epoch(self, train: Sample) -> None:
        """Show it all rows once."""
        from sklearn.neural_network import MLPClassifier

        if self._made is None:
            self._made = MLPClassifier(
                hidden_layer_sizes=self._model.units,
                alpha=self._model.l2,
                batch_size=min(self._model.batch_rows, len(train.X)),
                learning_rate_init=self._model.learning_rate,
                random_state=self._model.seed,
            )
        self._made.partial_fit(train.X, train.y, classes=range(N_CLASSES), sample_weight=train.weight)
        self.layers = list(zip(self._made.coefs_, self._made.intercepts_, strict=True))


def _loss(scores: Floats, train: Sample, calibration: Floats) -> float:
    p = softmax(calibration[0] * scores + calibration[1:])[np.arange(len(scores)), train.y]
    return float(train.weight @ -np.log(np.maximum(p, 1e-300)))


def _forward(features: Floats, layers: Layers) -> Floats:
    """Scores of the classes, shape (rows, 3)."""
    x = features
    for slope, intercept in layers[:-1]:
        # einsum sums in the same order for one row and for many, so a prediction does not depend on its batch
        x = np.maximum(np.einsum("nf,fd->nd", x, slope) + intercept, 0.0)
    return np.asarray(np.einsum("nf,fk->nk", x, layers[-1][0]) + layers[-1][1])


MODEL = MetaMLP
