"""The hidden Markov model walked forward: refitted at session starts on the past, filtered in between."""

from collections.abc import Callable
from typing import Final

import numpy as np

from mlfactory.common.bars import DAY_MINUTES, Bars, Floats, Ints
from mlfactory.regime import hmm
from mlfactory.regime.params import Params
from mlfactory.regime.windows import log, moving_sum

Fit = Callable[[Floats, hmm.Model, int, float], tuple[hmm.Model, Floats]]
Filter = Callable[[hmm.Model, Floats], tuple[Floats, Floats]]
_RANGE_FLOOR_TICKS: Final = 0.5  # a bar without a range counts as half a tick


def observations(bars: Bars, params: Params) -> Floats:
    """What the model sees, shape (n, d); NaN in the first ``realised_bars`` rows.

    A window in which the price stood still counts as one move of one tick.
    """
    tick = bars.instrument.tick_size / bars.close
    level = log(bars.close)
    move = np.diff(level, prepend=np.nan)
    squares = np.maximum(moving_sum(move * move, params.realised_bars), tick * tick)
    columns = {"return": move, "volatility": 0.5 * log(squares / params.realised_bars)}
    if "range" in params.observations:
        columns["range"] = log(np.maximum((bars.high - bars.low) / bars.close, _RANGE_FLOOR_TICKS * tick))
    out = np.column_stack([columns[name] for name in params.observations])
    out[: params.realised_bars] = np.nan
    return out


def refits(bars: Bars, params: Params) -> Ints:
    """Rows of one segment at which the model is fitted: the first bar of each period whose window is full.

    Periods count sessions from the epoch. A session longer than a day is cut at whole days from its open, so
    that a period never holds more bars than ``longest_period``.
    """
    day = (bars.minute - bars.session_open) // DAY_MINUTES
    period = bars.session // params.refit_sessions
    starts = np.flatnonzero((np.diff(period) != 0) | (np.diff(day) != 0)) + 1
    return starts[starts >= params.window_bars + params.realised_bars]


def longest_period(params: Params, bar_minutes: int) -> int:
    """Most bars that a period between two refits can hold."""
    return -(-params.refit_sessions * DAY_MINUTES // bar_minutes)


def bars_needed(params: Params, bar_minutes: int) -> int:
    """Count the bars, up to and including its own, that a filtered value needs, and depends on if starts are cold."""
    return params.realised_bars + params.window_bars + longest_period(params, bar_minutes)


def unbounded(params: Params) -> list[str]:
    """Name the columns whose values depend on all earlier bars, however old: none unless fits start warm."""
    return names(params) if params.warm_start else []


def names(params: Params) -> list[str]:
    """Name the columns of the model."""
    return ["hmm_state", *(f"hmm_p{s}" for s in range(params.n_states)), "hmm_fit_age", "hmm_loglik"]


def walk_forward(bars: Bars, params: Params) -> dict[str, Floats]:
    """Compute the columns of one segment, each row from bars up to and including its own; NaN during warm-up.

    At the first bar s of a period the model is fitted on the ``window_bars`` observations before s. The
    filter starts ``burn_in_bars`` before s from the fitted start distribution and serves the period's rows. A fit
    starts from its own window alone or, where ``warm_start`` is set, from the fit before.

    Returns:
        ``hmm_state``: most likely state, 0 the calmest; ``hmm_p<state>``: filtered probability;
        ``hmm_fit_age``: bars since the refit; ``hmm_loglik``: log likelihood of the observation given the
        earlier ones, in nats, observations in standard deviations of the window.
    """
    fit, run_filter = _engine(params)
    n, k = len(bars), params.n_states
    out = np.full((n, k + 3), np.nan)
    seen = observations(bars, params)
    instants = refits(bars, params)
    ends = np.append(instants[1:], n)[: len(instants)]
    model: hmm.Model | None = None
    units: tuple[Floats, Floats] | None = None
    for begin, end in zip(instants, ends, strict=True):
        window = begin - params.window_bars
        earlier, units = units, hmm.moments(seen[window:begin])
        x = (seen[window:end] - units[0]) / units[1]
        inside = x[: params.window_bars]
        if params.warm_start and model is not None and earlier is not None:
            start = hmm.next_guess(model, earlier, units)
        else:
            start = hmm.first_guess(inside, k, params.stickiness)
        model, _ = fit(inside, start, params.iterations, params.tolerance)
        lead = params.burn_in_bars
        filtered, loglik = run_filter(model, x[params.window_bars - lead :])
        out[begin:end, 0] = filtered[lead:].argmax(axis=1)
        out[begin:end, 1 : k + 1] = filtered[lead:]
        out[begin:end, k + 1] = np.arange(end - begin)
        out[begin:end, k + 2] = loglik[lead:]
    return {name: out[:, j] for j, name in enumerate(names(params))}


def _engine(params: Params) -> tuple[Fit, Filter]:
    if params.engine == "hmmlearn":
        from mlfactory.regime import reference  # hmmlearn takes a second to import

        return reference.fit, reference.run_filter
    return hmm.fit, hmm.run_filter
