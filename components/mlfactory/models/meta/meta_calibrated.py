"""Calibrated averaging: each base model's probabilities are calibrated, then mixed with learned weights."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.protocol import FLOOR, N_CLASSES, Classes, Sample, checked, probabilities
from mlfactory.models.stacked import by_model, frequencies, pool_weights, purged_blocks
from mlfactory.models.storage import Arrays

Maps = list[tuple[Floats, Floats]]
"""per model and class: probabilities given, ascending, and what they are worth"""


@dataclass
class MetaCalibrated(ArrayModel):
    """Isotonic calibration of every model and class, and a convex mixture of the results and the class frequencies.

    The mixture is found on probabilities that are calibrated out of sample: ``blocks`` contiguous blocks, each by
    maps that the other rows give without the ``gap`` rows beside it. The maps that predict come from all rows.

    ``X`` holds probabilities, shape (rows, 3 x models), rows in order of time, three columns per model.
    """

    source: ClassVar[str] = (
        "Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates"
    )

    blocks: Annotated[int, Field(ge=2)] = 5
    gap: Annotated[int, Field(ge=0)] = 60
    """rows left out on either side of a calibrated block; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._maps: Maps = []
        self._share: Floats = np.zeros(0)
        self._prior: Floats = np.zeros(N_CLASSES)

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        self._prior = frequencies(train.y, train.weight)
        given = by_model(train.X)
        chosen = np.full((len(given), 1 + given.shape[1]), np.nan)
        for block, away in purged_blocks(len(given), self.blocks, self.gap):
            if away.any():
                prior = frequencies(train.y[away], train.weight[away])
                maps = _isotonic(given[away], train.y[away], train.weight[away])
                p = _calibrated(given[block], maps, prior)
                chosen[block] = p[np.arange(len(block)), :, train.y[block]]
        known = np.isfinite(chosen[:, 0])
        self._share = pool_weights(chosen[known], train.weight[known])
        self._maps = _isotonic(given, train.y, train.weight)
        self.n_parameters_ = len(self._share) + sum(len(worth) for _, worth in self._maps)
        return self

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        p = _calibrated(by_model(X), self._maps, self._prior)
        return probabilities(np.einsum("nck,c->nk", p, self._share))

    def state(self) -> Arrays:
        none = [np.zeros(0)]
        return {
            "from": np.concatenate([given for given, _ in self._maps] or none),
            "to": np.concatenate([worth for _, worth in self._maps] or none),
            "size": np.array([len(given) for given, _ in self._maps], np.int64),
            "share": self._share,
            "prior": self._prior,
        }

    def restore(self, arrays: Arrays) -> None:
        self._share, self._prior, size = arrays["share"], arrays["prior"], arrays["size"]
        shapes = (self._share.shape, self._prior.shape, size.shape)
        if (
            shapes != ((1 + self.features_ // N_CLASSES,), (N_CLASSES,), (self.features_,))
            or (size < 1).any()
        ):
            raise ValueError("its arrays do not fit together")
        if arrays["from"].shape != (size.sum(),) or arrays["to"].shape != (size.sum(),):
            raise ValueError("its maps do not fit their sizes")
        cuts = np.cumsum(size)[:-1]
        self._maps = list(zip(np.split(arrays["from"], cuts), np.split(arrays["to"], cuts), strict=True))


def _isotonic(given: Floats, y: Classes, weight: Floats) -> Maps:
    """Map each model's probability of each class to the rising function that fits its occurrence best."""
    from sklearn.isotonic import IsotonicRegression

    maps = []
    for model in range(given.shape[1]):
        for k in range(N_CLASSES):
            found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            found.fit(given[:, model, k], y == k, sample_weight=weight)
            maps.append((np.asarray(found.X_thresholds_, float), np.asarray(found.y_thresholds_, float)))
    return maps


def _calibrated(given: Floats, maps: Maps, prior: Floats) -> Floats:
    """Class frequencies and calibrated probabilities, shape (rows, 1 + models, 3), each summing to one."""
    out = np.empty((len(given), 1 + given.shape[1], N_CLASSES))
    out[:, 0] = prior
    for number, (start, worth) in enumerate(maps):
        model, k = divmod(number, N_CLASSES)
        out[:, 1 + model, k] = np.interp(given[:, model, k], start, worth)
    out = np.maximum(out, FLOOR)
    return np.asarray(out / out.sum(axis=2, keepdims=True))


MODEL = MetaCalibrated
