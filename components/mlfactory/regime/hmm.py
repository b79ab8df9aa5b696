"""A Gaussian hidden Markov model with diagonal covariance: a fixed start, Baum-Welch, and the forward filter.

Shapes: n observations, d features, k states. All is float64 in one fixed order of operations, so equal
observations give equal bits.

Source: Rabiner (1989), A Tutorial on Hidden Markov Models; scaled recursions of section V.A.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from mlfactory.common.bars import Floats
from mlfactory.common.jit import kernel

VARIANCE_FLOOR: Final = 1e-2
"""of the column's variance: ticks put an atom at return zero, onto which a state would collapse"""
PROBABILITY_FLOOR: Final = 1e-10
"""least probability of a start or a transition: no observation then has likelihood zero"""
_LOG_TWO_PI: Final = math.log(2 * math.pi)


class Model(NamedTuple):
    """Parameters of the model."""

    start: Floats
    """shape (k,): p(first state)"""
    transition: Floats
    """shape (k, k): p(next state | state)"""
    mean: Floats
    """shape (k, d)"""
    variance: Floats
    """shape (k, d)"""


@kernel
def moments(x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation per column, each shape (d,); a constant column has deviation one."""
    n, d = x.shape
    mean, deviation = np.zeros(d), np.zeros(d)
    for t in range(n):
        for j in range(d):
            mean[j] += x[t, j]
    mean /= n
    for t in range(n):
        for j in range(d):
            deviation[j] += (x[t, j] - mean[j]) ** 2
    for j in range(d):
        spread = math.sqrt(deviation[j] / n)
        deviation[j] = spread if spread > 1e-12 * max(abs(mean[j]), 1e-300) else 1.0
    return mean, deviation


def first_guess(x: Floats, states: int, stickiness: float) -> Model:
    """Start from equal groups by the second column (volatility) and a chain that likes to stay.

    Args:
        x: shape (n, d), standardised.
        states: k.
        stickiness: probability of staying in a state.
    """
    order = np.argsort(x[:, 1], kind="stable")
    groups = [x[part] for part in np.array_split(order, states)]
    transition = np.full((states, states), (1 - stickiness) / (states - 1))
    np.fill_diagonal(transition, stickiness)
    return Model(
        start=np.full(states, 1 / states),
        transition=transition,
        mean=np.stack([moments(group)[0] for group in groups]),
        variance=np.stack(
            [np.maximum(np.square(group - group.mean(0)).mean(0), VARIANCE_FLOOR) for group in groups]
        ),
    )


@kernel
def likelihoods(x: Floats, mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Likelihood in each state relative to the best one, shape (n, k), and the best one's log, (n,)."""
    n, d = x.shape
    k = len(mean)
    relative, best = np.empty((n, k)), np.empty(n)
    precision = 0.5 / variance
    constant = np.zeros(k)
    for s in range(k):
        for j in range(d):
            constant[s] -= 0.5 * (_LOG_TWO_PI + math.log(variance[s, j]))
    for t in range(n):
        top = -np.inf
        for s in range(k):
            value = constant[s]
            for j in range(d):
                value -= (x[t, j] - mean[s, j]) ** 2 * precision[s, j]
            relative[t, s] = value
            top = max(top, value)
        best[t] = top
        for s in range(k):
            relative[t, s] = math.exp(relative[t, s] - top)
    return relative, best


@kernel
def forward(model: Model, relative: Floats) -> tuple[Floats, Floats]:
    """Filter: p(state at t | observations up to t), shape (n, k), and p(observation | earlier), (n,)."""
    n, k = relative.shape
    filtered, scale = np.empty((n, k)), np.empty(n)
    transition = model.transition
    for t in range(n):
        total = 0.0
        for s in range(k):
            prior = model.start[s]
            if t > 0:
                prior = 0.0
                for r in range(k):
                    prior += filtered[t - 1, r] * transition[r, s]
            filtered[t, s] = prior * relative[t, s]
            total += filtered[t, s]
        scale[t] = total
        for s in range(k):
            filtered[t, s] /= total
    return filtered, scale


@kernel
def smooth(model: Model, relative: Floats, filtered: Floats, scale: Floats) -> Floats:
    """Make ``filtered`` p(state at t | all observations), in place; return expected transitions (k, k)."""
    n, k = relative.shape
    jumps = np.zeros((k, k))
    backward, weight = np.ones(k), np.empty(k)
    for t in range(n - 1, 0, -1):
        for s in range(k):
            weight[s] = relative[t, s] * backward[s] / scale[t]
        for r in range(k):
            total = 0.0
            for s in range(k):
                total += model.transition[r, s] * weight[s]
                jumps[r, s] += filtered[t - 1, r] * weight[s]
            backward[r] = total
        for r in range(k):
            filtered[t - 1, r] *= backward[r]
    return jumps * model.transition


@kernel
def floored(weights: Floats) -> Floats:
    """Scale weights to the most likely probabilities of at least ``PROBABILITY_FLOOR`` each."""
    k = len(weights)
    total = weights.sum()
    free, kept = 1.0, total
    low = np.zeros(k, np.bool_)
    for _ in range(k):
        for s in range(k):
            if not low[s] and weights[s] * free < PROBABILITY_FLOOR * kept:
                low[s] = True
                free -= PROBABILITY_FLOOR
                kept -= weights[s]
    out = np.empty(k)
    for s in range(k):
        out[s] = PROBABILITY_FLOOR if low[s] else weights[s] * free / kept
    return out


@kernel
def maximise(model: Model, x: Floats, smoothed: Floats, jumps: Floats) -> None:
    """Set the parameters to their most likely values given the expected states, in place."""
    n, d = x.shape
    k = len(model.start)
    model.start[:] = floored(smoothed[0])
    occupied = np.zeros(k)
    first, second = np.zeros((k, d)), np.zeros((k, d))
    for t in range(n):
        for s in range(k):
            share = smoothed[t, s]
            occupied[s] += share
            for j in range(d):
                weighted = share * x[t, j]
                first[s, j] += weighted
                second[s, j] += weighted * x[t, j]
    for s in range(k):
        if jumps[s].sum() > 0:
            model.transition[s] = floored(jumps[s])
        if occupied[s] <= 1e-6:  # less than one observation in a million: nothing to estimate from
            continue
        for j in range(d):
            mean = first[s, j] / occupied[s]
            model.mean[s, j] = mean
            model.variance[s, j] = max(second[s, j] / occupied[s] - mean * mean, VARIANCE_FLOOR)


@kernel
def baum_welch(model: Model, x: Floats, iterations: int, tolerance: float) -> Floats:
    """Fit ``model`` to ``x`` in place; return the log likelihood before each step.

    The floors of variance and probability are bounds of the maximisation itself: the likelihood never falls.

    Args:
        model: where to start.
        x: shape (n, d), standardised.
        iterations: most steps.
        tolerance: stop when a step gains less, in nats per observation.
    """
    history = np.empty(iterations)
    for step in range(iterations):
        relative, best = likelihoods(x, model.mean, model.variance)
        filtered, scale = forward(model, relative)
        total = 0.0
        for t in range(len(x)):
            total += math.log(scale[t]) + best[t]
        history[step] = total
        jumps = smooth(model, relative, filtered, scale)
        maximise(model, x, filtered, jumps)
        if step > 0 and history[step] - history[step - 1] < tolerance * len(x):
            return history[: step + 1]
    return history


@kernel
def run_filter(model: Model, x: Floats) -> tuple[Floats, Floats]:
    """Filtered probabilities, shape (n, k), and log p(observation | earlier ones), shape (n,)."""
    relative, best = likelihoods(x, model.mean, model.variance)
    filtered, scale = forward(model, relative)
    for t in range(len(x)):
        best[t] += math.log(scale[t])
    return filtered, best


def by_variance(model: Model) -> Model:
    """Number the states by the variance of the first column (returns), calmest first."""
    order = np.argsort(model.variance[:, 0], kind="stable")
    return Model(
        start=model.start[order],
        transition=np.ascontiguousarray(model.transition[np.ix_(order, order)]),
        mean=model.mean[order],
        variance=model.variance[order],
    )


def fit(x: Floats, start: Model, iterations: int, tolerance: float) -> tuple[Model, Floats]:
    """Fit a model to standardised observations, shape (n, d), from ``start``, which stays as it is.

    Returns:
        The model, states by variance, and the log likelihood before each step.
    """
    model = Model(*(values.copy() for values in start))
    history = baum_welch(model, x, iterations, tolerance)
    return by_variance(model), history


def next_guess(model: Model, before: tuple[Floats, Floats], after: tuple[Floats, Floats]) -> Model:
    """Start from the fit of another window: its states in the units of this one, the first state unknown.

    Args:
        model: of observations standardised by ``before``.
        before: mean and standard deviation of that window, each shape (d,).
        after: those of this window.
    """
    return Model(
        start=np.full(len(model.start), 1 / len(model.start)),
        transition=model.transition,
        mean=(model.mean * before[1] + before[0] - after[0]) / after[1],
        variance=np.maximum(model.variance * (before[1] / after[1]) ** 2, VARIANCE_FLOOR),
    )
