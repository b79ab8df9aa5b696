"""Parameters of stages: typed, closed to unknown keys, tolerant of the floats that KFP makes of integers."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlfactory.common.errors import InputError


class Params(BaseModel):
    """Base of every stage's parameters; the field defaults are the only defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T")


def parse(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Validate ``values`` as ``kind``: a ``Params`` model or a dataclass of hyper-parameters.

    Args:
        kind: what the values are to become.
        values: parameters by name.
        where: names the group of parameters in messages; empty for keys that belong to none.

    Raises:
        InputError: an unknown key (the known ones are listed), a wrong type or a value out of range.
    """
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    prefix = f"{where}." if where else ""
    known = [key for key, spec in fields.items() if getattr(spec, "init", True) is not False]
    for key in values:
        if key not in known:
            raise InputError(f"{prefix}{key} is not a parameter; known: {', '.join(sorted(known))}")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = prefix + ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise InputError(f"{place} is missing: it has no default") from None
        told = first["msg"].replace("tuple", "list").replace("Tuple", "List").replace("dictionary", "mapping")
        raise InputError(f"{place.rstrip('.')} is {first['input']!r}: {told}") from None
