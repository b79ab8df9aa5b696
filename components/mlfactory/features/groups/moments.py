"""Shape of the distribution of log returns. A window without variance has zero skewness, kurtosis and entropy."""

import math

import numpy as np

from mlfactory.features import inputs, kernels
from mlfactory.features import windows as w
from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment

SHAPES = (20, 60, 120)
EDGES = (-1.5, -0.75, -0.25, 0.25, 0.75, 1.5)
"""Bin edges of the entropy, in standard deviations of 60 bars."""


@feature({f"return_skew_{k}": k + 1 for k in SHAPES}, unit="skewness")
def skewness(x: Segment) -> list[Floats]:
    """Sample skewness of log returns."""
    return [inputs.return_moments(x).skew[inputs.RETURN_WINDOWS.index(k)] for k in SHAPES]


@feature({f"return_kurt_{k}": k + 1 for k in SHAPES}, unit="excess kurtosis")
def kurtosis(x: Segment) -> list[Floats]:
    """Sample excess kurtosis of log returns."""
    return [inputs.return_moments(x).kurt[inputs.RETURN_WINDOWS.index(k)] for k in SHAPES]


@feature({"return_mad_ratio_60": 61}, unit="ratio")
def mean_deviation(x: Segment) -> Floats:
    """Mean absolute over standard deviation of 60 returns: 0.8 for a normal law, less for fat tails; 0 if flat."""
    found, i = inputs.return_moments(x), inputs.RETURN_WINDOWS.index(60)
    return w.ratio(w.deviation(inputs.log_return(x), found.mean[i], 60), found.std[i])


@feature({"tail_ratio_60": 61}, unit="ratio, -1 to 1")
def tail_ratio(x: Segment) -> Floats:
    """Largest gain against largest loss of 60 bars: (gain - loss) / (gain + loss); 0 if flat."""
    move = inputs.log_return(x)
    gain, loss = np.maximum(w.highest(move, 60), 0), np.maximum(w.highest(-move, 60), 0)
    return w.ratio(gain - loss, gain + loss)


@feature({"return_entropy_60": 120}, unit="share of the largest entropy", source="Shannon (1948)")
def entropy(x: Segment) -> Floats:
    """Entropy of 60 returns in 7 bins, each return measured by the 60-bar deviation of its own time."""
    scaled = w.ratio(inputs.log_return(x), inputs.return_std(x, 60))
    bins = len(EDGES) + 1
    return kernels.code_entropy(kernels.histogram_codes(scaled, np.array(EDGES)), bins, 60) / math.log(bins)


@feature({"permutation_entropy_60": 63}, unit="share of the largest entropy", source="Bandt and Pompe (2002)")
def permutation_entropy(x: Segment) -> Floats:
    """Entropy of the order patterns of three successive closes, 60 bars; ties count as rising."""
    return kernels.code_entropy(kernels.order_codes(x.close), 8, 60) / math.log(6)
