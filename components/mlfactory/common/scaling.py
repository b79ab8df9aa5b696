"""Scalers that know only the rows they were fitted on, kept as plain numbers."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.bars import Floats
from mlfactory.common.errors import InputError

Scaling = Literal["none", "standard", "robust"]

_SLAB: Final = 16_384  # rows converted to float64 at a time
_NORMAL_IQR: Final = 1.3489795003921634  # interquartile range of the standard normal distribution


@dataclass(frozen=True)
class Scaler:
    """Shift and scale each column: ``(x - centre) / spread``, clipped to ``clip`` spreads."""

    kind: Scaling
    centre: Floats
    """shape (columns,)"""
    spread: Floats
    """shape (columns,); 1 where the column is constant"""
    clip: float
    """largest distance from the centre that passes, in spreads; infinite for ``none``"""

    @classmethod
    def fit(cls, kind: Scaling, X: NDArray[np.float32], clip: float = 10.0) -> "Scaler":
        """Measure centre and spread of the rows given, and of no others.

        ``standard`` uses mean and standard deviation, ``robust`` median and interquartile range (as a normal
        distribution's standard deviation; the standard deviation itself where half of the rows share one value).
        A constant column is only centred.

        Args:
            kind: ``none`` leaves every value as it is.
            X: shape (rows, columns); the training rows.
            clip: in spreads.

        Raises:
            InputError: unknown kind, or no rows.
        """
        if kind not in get_args(Scaling):
            raise InputError(f"scaling {kind!r} is unknown; known: {', '.join(get_args(Scaling))}")
        if not len(X):
            raise InputError("a scaler needs at least one row")
        if kind == "none":
            return cls.none(X.shape[1])
        centre, spread = _standard(X) if kind == "standard" else _robust(X)
        constant = ~(spread > 1e-7 * np.abs(centre))  # float32 cannot tell smaller spreads from rounding
        return cls(kind, centre, np.where(constant, 1.0, spread), clip)

    @classmethod
    def none(cls, columns: int) -> "Scaler":
        """Leave every value as it is."""
        return cls("none", np.zeros(columns), np.ones(columns), np.inf)

    def transform(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale rows, shape (rows, columns); ``none`` returns ``X`` itself.

        Raises:
            InputError: another number of columns than at fit.
        """
        if X.shape[1] != len(self.centre):
            raise InputError(f"{X.shape[1]} columns; the scaler was fitted on {len(self.centre)}")
        if self.kind == "none":
            return X
        out = np.empty(X.shape, np.float32)
        for start in range(0, len(X), _SLAB):
            rows = slice(start, start + _SLAB)
            scaled = (X[rows].astype(np.float64) - self.centre) / self.spread
            out[rows] = np.clip(scaled, -self.clip, self.clip)
        return out

    def to_dict(self) -> dict[str, Any]:
        """The scaler as JSON values; float64 survives JSON exactly."""
        return {
            "kind": self.kind,
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
            "clip": self.clip if np.isfinite(self.clip) else None,
        }

    @classmethod
    def from_dict(cls, values: Any) -> "Scaler":
        """Restore what ``to_dict`` gave.

        Raises:
            InputError: not a scaler.
        """
        try:
            centre, spread = (np.asarray(values[name], dtype=np.float64) for name in ("centre", "spread"))
            kind, clip = values["kind"], np.inf if values["clip"] is None else float(values["clip"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a scaler: {error!r}") from None
        sound = centre.ndim == 1 and centre.shape == spread.shape and kind in get_args(Scaling)
        if not (sound and np.isfinite(centre).all() and np.isfinite(spread).all() and (spread > 0).all()):
            raise InputError("not a scaler: kind, shapes or values are wrong")
        return cls(kind, centre, spread, clip)


def _standard(X: NDArray[np.float32]) -> tuple[Floats, Floats]:
    centre = X.mean(axis=0, dtype=np.float64)
    squares = np.zeros(X.shape[1])
    for start in range(0, len(X), _SLAB):
        squares += ((X[start : start + _SLAB] - centre) ** 2).sum(axis=0)
    return centre, np.sqrt(squares / len(X))


def _robust(X: NDArray[np.float32]) -> tuple[Floats, Floats]:
    centre, spread = np.empty(X.shape[1]), np.empty(X.shape[1])
    for j in range(X.shape[1]):  # column by column: quantiles of the whole table would copy it
        column = X[:, j].astype(np.float64)
        low, centre[j], high = np.quantile(column, [0.25, 0.5, 0.75])
        spread[j] = (high - low) / _NORMAL_IQR if high > low else column.std()
    return centre, spread
