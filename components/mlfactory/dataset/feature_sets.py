"""The feature sets: which columns each family of models is given.

Columns that are levels (a price, a moving average of prices) are in no set: their distribution in training
says nothing about the future. ``boosting_optimal`` has all others; ``neural_optimal`` leaves out the higher
timeframes, because a sequence model sees the past by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from mlfactory.common.errors import InputError

BOOSTING: Final = "boosting_optimal"
NEURAL: Final = "neural_optimal"
LADDER_GROUP: Final = "mtf"
_GROUP: Final = "group:"

Column = Mapping[str, Any]
"""One entry of the catalogue in the provenance of ``features``: name, group, lookback, level, ..."""


class Held(NamedTuple):
    """What a matrix holds."""

    columns: list[str]
    """in the order of the catalogue"""
    sets: dict[str, list[str]]
    """columns of each feature set in it"""


def feature_sets(catalogue: Sequence[Column], overrides: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Choose the columns of each set, in the order of the catalogue.

    Args:
        catalogue: the columns that exist.
        overrides: per set, names or ``group:NAME``, in place of the set's own rule; other names are sets of the
            user's own.

    Returns:
        the columns of ``boosting_optimal``, ``neural_optimal`` and every set of the user's own

    Raises:
        InputError: a set names a column or a group that does not exist, or is empty.
    """
    usable = [column for column in catalogue if not column["level"]]
    own = {
        BOOSTING: [column["name"] for column in usable],
        NEURAL: [column["name"] for column in usable if column["group"] != LADDER_GROUP],
    }
    chosen = {**own, **{name: _named(name, catalogue, wanted) for name, wanted in overrides.items()}}
    for name, columns in chosen.items():
        if not columns:
            raise InputError(f"the feature set {name} is empty")
    return chosen


def matrix_columns(
    sets: Mapping[str, Sequence[str]], extra: Mapping[str, Sequence[str]], catalogue: Sequence[Column]
) -> dict[str, Held]:
    """Say which sets each matrix holds: its own and the extra ones.

    Args:
        sets: the columns of every set.
        extra: per matrix, names of further sets.
        catalogue: the columns that exist; a matrix keeps their order.

    Returns:
        per matrix

    Raises:
        InputError: an extra set does not exist, or no matrix holds a set of the user's own.
    """
    order = [str(column["name"]) for column in catalogue]
    out = {}
    for matrix in (BOOSTING, NEURAL):
        names = [matrix, *extra.get(matrix, ())]
        if missing := [name for name in names if name not in sets]:
            raise InputError(
                f"dataset.extra_sets.{matrix} names {', '.join(missing)}; known: {', '.join(sorted(sets))}"
            )
        held = {name: list(sets[name]) for name in dict.fromkeys(names)}
        used = {column for columns in held.values() for column in columns}
        out[matrix] = Held([name for name in order if name in used], held)
    if idle := [name for name in sets if not any(name in matrix.sets for matrix in out.values())]:
        raise InputError(
            f"dataset.feature_sets.{idle[0]} is read by no model: assign a family or a model to it in `reading`, or "
            f"name a matrix that is to hold it in dataset.extra_sets; built in: {BOOSTING}, {NEURAL}"
        )
    return out


def _named(name: str, catalogue: Sequence[Column], wanted: Sequence[str]) -> list[str]:
    columns = [str(column["name"]) for column in catalogue]
    groups = sorted({str(column["group"]) for column in catalogue})
    known = {*columns, *(_GROUP + group for group in groups)}
    if missing := [item for item in wanted if item not in known]:
        raise InputError(
            f"dataset.feature_sets.{name} names {', '.join(missing)}, which the features do not have; "
            f"groups: {', '.join(groups)}; columns: see `mlfactory features`"
        )
    return [
        str(column["name"])
        for column in catalogue
        if column["name"] in wanted or _GROUP + column["group"] in wanted
    ]


def longest_lookback(catalogue: Sequence[Column], sets: Mapping[str, Sequence[str]]) -> int:
    """Bars, up to and including a row's own, that the columns of all sets need."""
    used = {name for columns in sets.values() for name in columns}
    return max(int(column["lookback"]) for column in catalogue if column["name"] in used)


def timeframes(wanted: Sequence[int], steps: Sequence[int], bar_minutes: int) -> tuple[int, ...]:
    """Choose the timeframes of ``transformer_raw``: those wanted that bars of this length can give, ascending.

    Args:
        wanted: minutes; empty for all of the ladder. Those shorter than a bar are left out, as in the ladder.
        steps: of the ladder, in minutes.
        bar_minutes: of the input bars.

    Raises:
        InputError: the ladder does not have one of them, or all are shorter than a bar.
    """
    chosen = tuple(step for step in sorted(set(wanted)) if step >= bar_minutes) if wanted else tuple(steps)
    if not chosen:
        raise InputError(
            f"dataset.timeframes is {sorted(set(wanted))}: none is as long as a bar of {bar_minutes} minutes"
        )
    if missing := [step for step in chosen if step not in steps]:
        raise InputError(
            f"dataset.timeframes names {', '.join(map(str, missing))}, which mtf does not have; "
            f"known: {', '.join(map(str, steps))} (see mtf.steps)"
        )
    return chosen
