"""Support vector machine: one boundary per class in the space of a radial kernel, with calibrated scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.common.scaling import Scaling
from mlfactory.common.stage import note
from mlfactory.models.arrays import ArrayModel
from mlfactory.models.protocol import (
    N_CLASSES,
    Classes,
    Sample,
    checked,
    context,
    one_thread,
    probabilities,
    softmax,
)
from mlfactory.models.stacked import calibrate, purged_blocks
from mlfactory.models.storage import Arrays

_ARRAYS = ("vectors", "dual", "intercept", "calibration")
_CACHE_MIB = 200  # of kernel values that libsvm keeps
_SLAB = 1024  # rows whose kernel with all support vectors is in memory at once


@dataclass
class SVM(ArrayModel):
    """Three one-against-the-rest machines; a softmax, fitted on cross-fitted scores, makes them probabilities.

    Training takes time that grows with the square of the rows, so at most ``most_rows`` are used, evenly spaced in
    time. The softmax is fitted on scores of ``blocks`` contiguous blocks, each by machines that saw the other rows
    without the ``gap`` rows beside it: no row is calibrated on a score of a machine that saw it.
    """

    scaling: ClassVar[Scaling] = "standard"
    source: ClassVar[str] = (
        "Cortes and Vapnik (1995), Support-vector networks; Rifkin and Klautau (2004), In defense of one-vs-all "
        "classification; Platt (1999), Probabilistic outputs for support vector machines"
    )

    C: Annotated[float, Field(gt=0)] = 0.1
    """price of a row on the wrong side of its margin"""
    width: Annotated[float, Field(gt=0)] = 1.0
    """of the kernel, in units of the mean squared distance of scaled rows: exp(-distance / (width * columns))"""
    most_rows: Annotated[int, Field(ge=10)] = 2000
    blocks: Annotated[int, Field(ge=2)] = 3
    gap: Annotated[int, Field(ge=0)] = 60
    """rows, before thinning, left out on either side of a scored block; at least the longest label's rows"""

    def __post_init__(self) -> None:
        self._vectors: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._dual: Floats = np.zeros((0, N_CLASSES))
        self._intercept: Floats = np.zeros(N_CLASSES)
        self._calibration: Floats = np.zeros(1 + N_CLASSES)

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        every = -(-len(train.X) // self.most_rows)
        if every > 1:
            rows = np.arange(len(train.X) - 1, -1, -every)[::-1]
            note(
                f"{context.get().task or 'svm'}: trained on {len(rows)} of {len(train.X)} rows, one in {every}"
            )
            train = Sample(train.X[rows], train.y[rows], train.weight[rows])
        with one_thread():
            scores = np.zeros((len(train.X), N_CLASSES))
            for block, away in purged_blocks(len(train.X), self.blocks, -(-self.gap // every)):
                if away.any():
                    self._machines(train.X[away], train.y[away], train.weight[away])
                    scores[block] = self._scores(train.X[block])
            self._calibration = calibrate(scores, train.y, train.weight)
            self._machines(train.X, train.y, train.weight)
        self.n_parameters_ = self._dual.size + self._vectors.size
        return self

    def _machines(self, X: NDArray[Any], y: Classes, weight: Floats) -> None:
        """Fit one machine per class against the other two; keep the rows that are a support of any."""
        from sklearn.svm import SVC

        dual = np.zeros((len(X), N_CLASSES))
        self._intercept = np.full(N_CLASSES, -1.0)
        used = np.flatnonzero(weight > 0)  # libsvm drops rows without weight and numbers the others anew
        for k in range(N_CLASSES):
            own = y[used] == k
            if own.all() or not own.any():
                self._intercept[k] = 1.0 if own.all() else -1.0
                continue
            machine = SVC(C=self.C, kernel="rbf", gamma=self._gamma, cache_size=_CACHE_MIB)
            machine.fit(np.asarray(X[used], np.float64), own, sample_weight=weight[used])
            dual[used[machine.support_], k] = machine.dual_coef_[0]
            self._intercept[k] = machine.intercept_[0]
        support = (dual != 0).any(axis=1)
        self._vectors, self._dual = np.ascontiguousarray(X[support], np.float32), dual[support]

    @property
    def _gamma(self) -> float:
        return 1 / (self.width * self.features_)

    def _scores(self, X: NDArray[Any]) -> Floats:
        """Signed distances to the boundaries, shape (rows, 3)."""
        parts = [kernel @ self._dual for kernel in self._kernels(np.asarray(X, np.float64))]
        return np.concatenate(parts) + self._intercept if parts else np.zeros((0, N_CLASSES))

    def _kernels(self, X: Floats) -> Iterator[Floats]:
        vectors = self._vectors.astype(np.float64)
        squares = (vectors**2).sum(axis=1)
        for start in range(0, len(X), _SLAB):
            slab = X[start : start + _SLAB]
            distance = (slab**2).sum(axis=1)[:, None] - 2 * slab @ vectors.T + squares
            yield np.exp(-self._gamma * np.maximum(distance, 0.0))

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        with one_thread():
            scores = self._scores(X)
        return probabilities(softmax(self._calibration[0] * scores + self._calibration[1:]))

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes of a fit: thinned rows in double precision, libsvm's cache, and a slab of kernels."""
        kept = min(rows, self.most_rows)
        return {
            "a copy of the training rows": 4 * rows * columns,
            "thinned rows": 3 * 8 * kept * columns,
            "kernels": min(_CACHE_MIB << 20, 4 * kept**2) + 8 * _SLAB * kept,
        }

    def state(self) -> Arrays:
        return {name: getattr(self, f"_{name}") for name in _ARRAYS}

    def restore(self, arrays: Arrays) -> None:
        for name in _ARRAYS:
            setattr(self, f"_{name}", arrays[name])
        n = len(self._vectors)
        shapes = ((n, self.features_), (n, N_CLASSES), (N_CLASSES,), (1 + N_CLASSES,))
        if tuple(arrays[name].shape for name in _ARRAYS) != shapes:
            raise ValueError("its arrays do not fit together")


MODEL = SVM
