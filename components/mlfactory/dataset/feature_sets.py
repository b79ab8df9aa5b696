"""The feature sets: which columns each family of models is given.

Columns that are levels (a price, a moving average of prices) are in no set: their distribution in training
says nothing about the future. ``boosting_optimal`` has all others; ``neural_optimal`` leaves out the higher
timeframes, because a sequence model sees the past by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlfactory.common.errors import InputError

BOOSTING: Final = "boosting_optimal"
NEURAL: Final = "neural_optimal"
LADDER_GROUP: Final = "mtf"
_GROUP: Final = "group:"

Column = Mapping[str, Any]
"""One entry of the catalogue in the provenance of ``features``: name, group, lookback, level, ..."""


def feature_sets(catalogue: Sequence[Column], overrides: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Choose the columns of each set, in the order of the catalogue.

    Args:
        catalogue: the columns that exist.
        overrides: per set, names or ``group:NAME``, in place of the set's own rule.

    Raises:
        InputError: a set names a column or a group that does not exist, or is empty.
    """
    usable = [column for column in catalogue if not column["level"]]
    own = {
        BOOSTING: [column["name"] for column in usable],
        NEURAL: [column["name"] for column in usable if column["group"] != LADDER_GROUP],
    }
    chosen = {
        name: _named(name, catalogue, overrides[name]) if name in overrides else own[name] for name in own
    }
    for name, columns in chosen.items():
        if not columns:
            raise InputError(f"the feature set {name} is empty")
    return chosen


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
