"""A combiner of one horizon: predictions in nested folds, then one fit that predicts the locked test."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.index import UNKNOWN, Index
from mlfactory.common.params import parse
from mlfactory.common.predictions import Predictions
from mlfactory.models.protocol import Model
from mlfactory.models.registry import family_of, load_model, models
from mlfactory.stacking.nested import Stack, nested

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Combined:
    """One combiner at one horizon."""

    name: str
    model: Model
    """fitted on all out-of-fold rows"""
    nested: Floats
    """shape (entries of the development stack, 3); NaN where no fold could predict"""
    trained_on: dict[int, int]
    """per fold: rows that its combiner learned from"""
    oof: Predictions
    test: Predictions


def combine(
    name: str,
    development: Stack,
    test: Stack,
    index: Index,
    seed: int,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Combined:
    """Fit a combiner, in each fold on its training rows and at last on all development rows.

    Args:
        name: a model of a combining family.
        development: the base models out of fold.
        test: the same models on the locked test.
        index: labels and folds.
        seed: of the combiner.
        given: hyper-parameters that differ from the combiner's defaults; a ``gap`` shorter than the longest label
            becomes as long.
    """
    kind = load_model(name)
    settings: dict[str, Any] = {**given, "seed": seed}
    path = index.path(development.horizon, development.row, development.fold)
    once = development.take(path == 0)  # a prediction per row, each by one model like those of the test
    if "gap" in models()[name].defaults:
        settings["gap"] = max(index.longest_overlap(once.horizon, once.row), settings.get("gap", 0))
    settings = parse(kind, settings, f"model.{name}").settings()

    def fit(features: Floats, label: NDArray[np.int8]) -> Model:
        return kind(**settings).fit(features, label, np.ones(len(label)))

    inner, trained_on = nested(development, index, lambda X, y: fit(X, y).predict_proba)
    label = index.label[once.horizon][once.row]
    known = label != UNKNOWN
    model = fit(once.features[known], label[known])
    predicted = np.isfinite(inner[:, 0])
    return Combined(
        name=name,
        model=model,
        nested=inner,
        trained_on=trained_on,
        oof=_predictions(name, development.take(predicted), inner[predicted]),
        test=_predictions(name, test, model.predict_proba(test.features)),
    )


def _predictions(name: str, stack: Stack, probability: Floats) -> Predictions:
    return Predictions(stack.row, stack.minute, stack.fold, probability, name, family_of(name), stack.horizon)
