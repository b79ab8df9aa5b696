"""An image installs what its sources import, and nothing else.

A stage's own files count whole. In the files that it shares with others only the functions that it reaches count: one
file holds the formats of all models, and each family installs its own format's library alone.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from mlfactory.common.images import EVERY, IMAGES, Image, sources
from mlfactory.common.predictions import COMBINERS

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "components" / "mlfactory"

LOADED_BY_NAME = ("mlfactory.features.groups",)
"""Folders whose files are found by scanning: no import statement names them."""
Node = tuple[str, str]
"""A module and a definition at its top level; an empty name is all else that stands there."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(image: str) -> set[str]:
    lines = (REPOSITORY / "images" / image / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {normal(re.split(r"[^\w.-]", line)[0]) for line in lines if line and not line.startswith("#")}


@cache
def closure(distribution: str) -> frozenset[str]:
    """The distributions that installing one brings along."""
    seen: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = normal(waiting.pop())
        if name in seen or "extra ==" in name:
            continue
        seen.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        here = (line for line in requirements if not re.search("extra ==|win32|Windows", line))
        waiting += [re.split(r"[^\w.-]", line)[0] for line in here]
    return frozenset(seen)


@cache
def definitions(file: Path) -> dict[str, list[ast.stmt]]:
    """The statements of a module by the name that they define, without imports for types alone."""
    found: dict[str, list[ast.stmt]] = defaultdict(list)
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        named = isinstance(statement, ast.FunctionDef | ast.ClassDef)
        found[statement.name if named else ""].append(statement)
    return found


def imports(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """The modules that a statement imports anywhere inside, each with the name it takes from it, if one."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def reached(row: Image) -> set[str]:
    """Name the top-level modules of other projects that an image's sources reach."""
    held = {dotted(file): file for file in sources(row) if file.suffix == ".py"}
    families = COMBINERS if row.models == EVERY else row.models
    own = [f"mlfactory.{row.stage}", *LOADED_BY_NAME, *(f"mlfactory.models.{family}" for family in families)]
    found: set[str] = set()
    seen: set[Node] = set()
    waiting = [
        (name, part)
        for name, file in held.items()
        if any(f"{name}.".startswith(f"{folder}.") for folder in own) and not name.endswith(".component")
        for part in definitions(file)
    ]
    while waiting:
        name, part = node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for statement in definitions(held[name]).get(part, []):
            words = {item.id for item in ast.walk(statement) if isinstance(item, ast.Name)}
            waiting += [(name, word) for word in words & set(definitions(held[name]))]
            for module, taken in imports(statement):
                if (inner := f"{module}.{taken}") in held:
                    waiting += [(inner, part) for part in ("", *definitions(held[inner]))]
                elif module in held:
                    waiting += [(module, ""), (module, taken)]
                elif not module.startswith("mlfactory"):
                    found.add(module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


def dotted(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def needed(row: Image) -> set[str]:
    providers = metadata.packages_distributions()
    return {normal(providers[module][0]) for module in reached(row)}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_installs_what_its_sources_import(name: str) -> None:
    installed = {item for distribution in listed("common") | listed(name) for item in closure(distribution)}
    assert needed(IMAGES[name]) - installed == set()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_installs_nothing_that_its_sources_do_not_import(name: str) -> None:
    assert listed(name) - needed(IMAGES[name]) == set()


def test_imports_inside_functions_and_through_the_kernel_are_found() -> None:
    assert {"numba", "pandas", "numpy"} <= reached(IMAGES["labels"])
    assert "xgboost" in reached(IMAGES["train-boosting"])
    assert "torch" not in reached(IMAGES["train-boosting"])
