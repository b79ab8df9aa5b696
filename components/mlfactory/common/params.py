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

    Raises:
        InputError: an unknown key (the known ones are listed), a wrong type or a value out of range.
    """
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    known = [key for key, spec in fields.items() if getattr(spec, "init", True) is not False]
    for key in values:
        if key not in known:
            raise InputError(f"{where}.{key} is not a parameter; known: {', '.join(sorted(known))}")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *map(str, first["loc"])])
        raise InputError(f"{place} is {first['input']!r}: {first['msg']}") from None
