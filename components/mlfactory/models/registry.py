"""Every model there is: a folder is a family, a file is a model, and nothing else has to be registered.

Listing imports the model files alone; they import their libraries inside methods, so no booster and no torch
is loaded before a model is fitted or read.
"""

import hashlib
import importlib.util
import inspect
import os
import sys
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mlfactory.common.errors import InputError
from mlfactory.common.extras import MODELS as EXTRA
from mlfactory.common.predictions import COMBINERS
from mlfactory.common.raw_bars import KIND as RAW
from mlfactory.models.protocol import InputKind, Model

FEATURE_SETS: Final = {
    "boosting": "boosting_optimal",
    "classical": "boosting_optimal",
    "neural": "neural_optimal",
    "cnn": "neural_optimal",
    "transformer": RAW,
}
"""The matrix that each training family reads."""
FAMILIES: Final = (*FEATURE_SETS, *COMBINERS)


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without its library."""

    name: str
    family: str
    input: InputKind
    feature_set: str
    """matrix that it reads; ``probabilities`` for combiners"""
    device: str
    """``cpu``, or ``gpu`` where it uses one when there is one"""
    source: str
    """paper"""
    doc: str
    """first line of its documentation"""
    defaults: dict[str, Any]
    """hyper-parameters and their defaults"""
    search: dict[str, tuple[float, float]]
    """hyper-parameters that tuning may choose, with their lowest and highest values"""
    path: Path


def models() -> dict[str, ModelInfo]:
    """List all models in the order of families, then by name.

    Raises:
        InputError: a file defines no ``MODEL``, a name occurs twice, or ``MLF_MODELS`` names no folder.
    """
    return dict(_scan(os.environ.get(EXTRA, "")))


def combiners() -> list[str]:
    """Names of the models that combine the predictions of others."""
    return [name for name, info in models().items() if info.family in COMBINERS]


def load_model(name: str) -> type[Model]:
    """Import the class of the model ``name``, without its library.

    Raises:
        InputError: no such model; the known ones are listed.
    """
    known = models()
    if name not in known:
        raise InputError(f"model {name!r} is not in the registry; known: {', '.join(sorted(known))}")
    return _class_of(known[name].path, known[name].family)


def family_of(name: str) -> str:
    """Name the family of a model.

    Raises:
        InputError: no such model.
    """
    load_model(name)
    return models()[name].family


def source_version(name: str) -> str:
    """Hash the sources that a fitted model depends on: its own file and those that all models share."""
    own = models()[name].path
    digest = hashlib.sha256()
    for file in (*sorted(Path(__file__).parent.glob("*.py")), own):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _scan(extra: str) -> tuple[tuple[str, ModelInfo], ...]:
    found: dict[str, ModelInfo] = {}
    roots = [Path(__file__).parent, *(Path(part) for part in extra.split(os.pathsep) if part)]
    for root in roots:
        if not root.is_dir():
            raise InputError(f"{EXTRA} names {root}: no such folder")
    for family in FAMILIES:
        files = [file for root in roots for file in (root / family).glob("*.py")]
        for file in sorted(files, key=lambda path: path.stem):
            if file.stem.startswith("_"):
                continue
            if file.stem in found:
                raise InputError(
                    f"two files define the model {file.stem!r}: {found[file.stem].path} and {file}"
                )
            found[file.stem] = _info(file, family)
    return tuple(found.items())


def _info(file: Path, family: str) -> ModelInfo:
    model = _class_of(file, family)
    return ModelInfo(
        name=file.stem,
        family=family,
        input=model.input,
        feature_set=FEATURE_SETS.get(family, "probabilities"),
        device=model.device,
        source=model.source,
        doc=(inspect.getdoc(model) or "").partition("\n")[0],
        defaults={spec.name: spec.default for spec in fields(model) if spec.init and spec.name != "seed"},
        search={name: (values.low, values.high) for name, values in model.search.items()},
        path=file,
    )


def _class_of(file: Path, family: str) -> type[Model]:
    model = getattr(_module(file, family), "MODEL", None)
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise InputError(f"{file} defines no MODEL: it must be the file's model class")
    return model


def _module(file: Path, family: str) -> ModuleType:
    if file.is_relative_to(Path(__file__).parent):
        return importlib.import_module(f"mlfactory.models.{family}.{file.stem}")
    place = hashlib.sha256(str(file.parent).encode()).hexdigest()[:8]
    name = f"mlfactory_extra_{place}_{file.stem}"  # a folder outside the package: no dotted name finds it
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
