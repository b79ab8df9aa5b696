"""How each model reads: feature set, scaling, selection, weights; by family or by model, the model's word counts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlfactory.common.errors import InputError
from mlfactory.common.params import parse
from mlfactory.common.raw_bars import KIND as RAW
from mlfactory.models import registry
from mlfactory.train.params import Reading

Tree = dict[str, Any]


def checked(stated: Mapping[str, Any], models: Sequence[str]) -> dict[str, Tree]:
    """Check what is stated per family or model; keys that are not stated stay absent.

    Args:
        stated: the section ``reading`` of a configuration; a name alone is that of a feature set.
        models: names of the models that are trained.

    Raises:
        InputError: neither a family nor a model, an unknown key, or a value out of range.
    """
    families = {registry.family_of(name) for name in models}
    out = {}
    for name, values in stated.items():
        if name not in families and name not in models:
            known = ", ".join([*sorted(families), *sorted(models)])
            raise InputError(
                f"reading.{name} is neither a family nor a model that is trained; known: {known}"
            )
        given = values if isinstance(values, Mapping) else {"feature_set": values}
        full = parse(Reading, given, f"reading.{name}")
        out[name] = dict(full.model_dump(mode="json", exclude_unset=True))
    return out


def of(reading: Mapping[str, Tree], model: str) -> Tree:
    """Join what is stated for a model's family and for the model itself; empty where nothing is."""
    own, shared = reading.get(model, {}), reading.get(registry.family_of(model), {})
    parts = {key: {**shared.get(key, {}), **own.get(key, {})} for key in ("selection", "weights")}
    return {**shared, **own, **{key: part for key, part in parts.items() if part}}


def assign(dataset: Tree, reading: Mapping[str, Tree], models: Iterable[str]) -> None:
    """Have each matrix hold the feature sets that the models of its families are assigned to.

    Raises:
        InputError: a set is not defined, or a model that reads raw bars is assigned to one.
    """
    extra = {matrix: list(names) for matrix, names in dataset["extra_sets"].items()}
    built_in = [name for name in dict.fromkeys(registry.FEATURE_SETS.values()) if name != RAW]
    for model in models:
        wanted = of(reading, model).get("feature_set", "")
        matrix = registry.models()[model].feature_set
        if wanted in ("", matrix):
            continue
        known = [*dataset["feature_sets"], *built_in]
        if matrix == RAW or wanted not in known:
            raise InputError(
                f"reading: {model} reads raw bars and takes no feature set"
                if matrix == RAW
                else f"reading: {model} is assigned to the feature set {wanted!r}, which dataset.feature_sets does "
                f"not define; known: {', '.join(dict.fromkeys(known))}"
            )
        if wanted not in extra.setdefault(matrix, []):
            extra[matrix].append(wanted)
    dataset["extra_sets"] = extra
