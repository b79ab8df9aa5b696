"""Causal wavelet coefficients: the undecimated a-trous transform with filters that only reach back.

Prices enter as log returns, so that a still price has no coefficients at all; volume enters as the change of its
logarithm. Coefficients are in standard deviations of their own band over 64 bars, energies are shares of the total.
The causal coefficient equals that of ``pywt.swt(norm=True)`` some bars earlier, where the transform's window no
longer wraps around (Percival and Walden 2000).
"""

import functools

import numpy as np
import pywt

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, shared

LEVELS = 4
ENERGY = 64
SOURCE = "Percival and Walden (2000)"
DB4 = 8
"""Taps of Daubechies' filter with four vanishing moments."""


def support(level: int, taps: int = DB4) -> int:
    """Rows that decide a coefficient of ``level``."""
    return ((1 << level) - 1) * (taps - 1) + 1


def _rows(level: int) -> int:
    return support(level) + ENERGY  # one more for the first return


@functools.cache
def _taps(name: str) -> tuple[Floats, Floats]:
    wavelet = pywt.Wavelet(name)
    return np.array(wavelet.dec_lo) / np.sqrt(2), np.array(wavelet.dec_hi) / np.sqrt(2)


def transform(values: Floats, levels: int = LEVELS, wavelet: str = "db4") -> Floats:
    """Details of levels 1 to ``levels``, then the approximation; shape (levels + 1, n)."""
    return kernels.a_trous(values, *_taps(wavelet), levels)


@shared
def _close_bands(x: Segment) -> Floats:
    return transform(inputs.log_return(x))


@shared
def _volume_bands(x: Segment) -> Floats:
    return transform(w.difference(inputs.log_volume(x)), 3)


def _energies(bands: Floats) -> Floats:
    return np.stack([w.total(band**2, ENERGY) for band in bands])


@shared
def _close_energies(x: Segment) -> Floats:
    return _energies(_close_bands(x))


@shared
def _volume_energies(x: Segment) -> Floats:
    return _energies(_volume_bands(x))


def _scaled(bands: Floats, energies: Floats) -> list[Floats]:
    return [w.ratio(band, np.sqrt(total / ENERGY)) for band, total in zip(bands, energies, strict=True)]


def _shares(energies: Floats) -> list[Floats]:
    total = energies.sum(axis=0)
    return [w.ratio(part, total) for part in energies]


CLOSE = [("d1", 1), ("d2", 2), ("d3", 3), ("d4", 4), ("a4", 4)]
VOLUME = [("d1", 1), ("d2", 2), ("d3", 3), ("a3", 3)]


@feature({f"wave_close_{name}": _rows(k) for name, k in CLOSE}, unit="standard deviations", source=SOURCE)
def close_coefficients(x: Segment) -> list[Floats]:
    """Db4 coefficients of log returns, scales of 2 to 16 bars and the trend beyond; 0 if flat."""
    return _scaled(_close_bands(x), _close_energies(x))


@feature({f"wave_close_energy_{name}": _rows(4) for name, _ in CLOSE}, unit="share, 0 to 1", source=SOURCE)
def close_energies(x: Segment) -> list[Floats]:
    """Share of each scale in the energy of log returns over 64 bars; 0 if flat."""
    return _shares(_close_energies(x))


@feature({"wave_trend_strength": _rows(4)}, unit="ratio", source=SOURCE)
def trend_strength(x: Segment) -> Floats:
    """Absolute trend beyond 16 bars over the root of the energy per bar of all scales; 0 if flat."""
    total = _close_energies(x).sum(axis=0)
    return w.ratio(np.abs(_close_bands(x)[LEVELS]), np.sqrt(total / ENERGY))


@feature({"wave_trend_direction": support(4) + 1}, unit="-1, 0, 1", source=SOURCE)
def trend_direction(x: Segment) -> Floats:
    """Sign of the trend beyond 16 bars."""
    out: Floats = np.sign(_close_bands(x)[LEVELS])
    return out


@feature({"wave_noise_60": 8 + 60}, unit="log price per bar", source="Donoho and Johnstone (1994)")
def noise(x: Segment) -> Floats:
    """Mean absolute coefficient of the finest scale over 60 bars, as the deviation of a normal law."""
    out: Floats = np.sqrt(np.pi) * w.mean(np.abs(_close_bands(x)[0]), 60)
    return out


@feature(
    {f"wave_volume_{name}": _rows(k) for name, k in VOLUME},
    unit="standard deviations",
    source=SOURCE,
    needs_volume=True,
)
def volume_coefficients(x: Segment) -> list[Floats]:
    """Db4 coefficients of the change of log volume, scales of 2 to 8 bars and the trend beyond; 0 if constant."""
    return _scaled(_volume_bands(x), _volume_energies(x))


@feature(
    {f"wave_volume_energy_{name}": _rows(3) for name, _ in VOLUME},
    unit="share, 0 to 1",
    source=SOURCE,
    needs_volume=True,
)
def volume_energies(x: Segment) -> list[Floats]:
    """Share of each scale in the energy of log volume changes over 64 bars; 0 if constant."""
    return _shares(_volume_energies(x))


HAAR = (2, 4, 8, 16, 32)


@feature({f"haar_{k}": 2 * k for k in HAAR}, unit="log price", source="Haar (1910)")
def haar(x: Segment) -> list[Floats]:
    """Haar coefficient of the log close: mean of the last k bars minus mean of the k bars before, over 2."""
    means = w.means(inputs.log_close(x), *HAAR)
    return [w.difference(mean, k) / 2 for mean, k in zip(means, HAAR, strict=True)]
