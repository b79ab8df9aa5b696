"""Choosing hyper-parameters on the training rows of a fold and no others, by a search that stops hopeless trials."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from mlfactory.models.protocol import Model, Range

INNER_FOLDS: Final = 3
"""purged folds of the training rows in which every setting is judged"""
_UNPRUNED: Final = 5
"""trials that are judged in all folds before any is stopped"""
Losses = Callable[[Model], Iterator[float]]
"""Fits a model in one purged fold after the other and gives the held-out log loss of each."""


def tune(model: Model, trials: int, losses: Losses) -> tuple[Model, dict[str, Any]]:
    """Find hyper-parameters with the least mean log loss over purged folds.

    The first trial is the model as it is, moved into the ranges where it is outside, so the search never ends with
    worse than that by its own measure. Trials are drawn by a tree-structured Parzen estimator; one that is above the
    median of the earlier ones after a fold is stopped there.

    Args:
        model: with the hyper-parameters to start from; it is not fitted.
        trials: settings to try, at least 1.
        losses: how a setting is judged.

    Returns:
        an unfitted model with the best setting; and facts: ``params``, ``log_loss``, ``first_log_loss`` of the
        setting that was given, ``trials`` and how many were ``pruned``

    Source: Bergstra et al. (2011), Algorithms for hyper-parameter optimization.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=model.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED),
    )
    study.enqueue_trial(_start(model))

    def judge(trial: Any) -> float:
        found: list[float] = []
        candidate = type(model)(**{**model.settings(), **_suggested(trial, model)})
        for fold, value in enumerate(losses(candidate)):
            found.append(value)
            trial.report(float(np.mean(found)), fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(found))

    study.optimize(judge, n_trials=trials)
    best = {name: study.best_params[name] for name in model.search}
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    facts = {
        "params": best,
        "log_loss": study.best_value,
        "first_log_loss": study.trials[0].value,
        "trials": len(study.trials),
        "pruned": pruned,
    }
    return type(model)(**{**model.settings(), **best}), facts


def _start(model: Model) -> dict[str, Any]:
    return {
        name: type(values.low)(min(max(getattr(model, name), values.low), values.high))
        for name, values in model.search.items()
    }


def _suggested(trial: Any, model: Model) -> dict[str, Any]:
    return {name: _value(trial, name, values) for name, values in model.search.items()}


def _value(trial: Any, name: str, values: Range) -> float:
    if isinstance(values.low, int):
        whole: int = trial.suggest_int(name, values.low, values.high, log=values.log)
        return whole
    real: float = trial.suggest_float(name, values.low, values.high, log=values.log)
    return real
