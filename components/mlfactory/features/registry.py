"""The feature columns: declared where they are computed, found by scanning a folder, listed without computing."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mlfactory.common import extras
from mlfactory.common.errors import InputError
from mlfactory.common.extras import FEATURE_GROUPS as EXTRA_FOLDERS
from mlfactory.features.segment import Floats, Floats32, Segment, Setting

_OWN = Path(__file__).parent / "groups"

Columns = Mapping[str, int] | Callable[[Setting], Mapping[str, int]]
Values = Floats | Floats32
Compute = Callable[[Segment], Values | Iterable[Values]]


@dataclass(frozen=True)
class Column:
    """One feature column as the catalogue shows it."""

    name: str
    group: str
    lookback: int
    """bars that decide the value at a row, the row's own bar included"""
    unit: str
    source: str
    """paper or book; ``plain`` for common arithmetic"""
    level: bool
    """a price level: exists for people and charts, belongs to no model's set"""
    needs_volume: bool
    tolerance: float
    """largest error, relative to the column's scale, of a value from its look-back alone; 0 is bit for bit"""
    about: str


@dataclass(frozen=True, eq=False)
class Feature:
    """One compute function and the columns it yields, in the order of its results."""

    compute: Compute
    group: str
    columns: Columns
    unit: str
    source: str
    level: bool
    needs_volume: bool
    tolerance: float

    def lookbacks(self, setting: Setting) -> Mapping[str, int]:
        """Column names and look-backs for bars of this setting."""
        return self.columns(setting) if callable(self.columns) else self.columns

    def catalogue(self, setting: Setting) -> list[Column]:
        """Describe the columns for bars of this setting."""
        about = (inspect.getdoc(self.compute) or "").partition("\n")[0]
        facts = (self.unit, self.source, self.level, self.needs_volume, self.tolerance, about)
        return [Column(name, self.group, rows, *facts) for name, rows in self.lookbacks(setting).items()]


def feature(
    columns: Columns,
    *,
    unit: str,
    source: str = "plain",
    level: bool = False,
    needs_volume: bool = False,
    tolerance: float = 0.0,
) -> Callable[[Compute], Compute]:
    """Declare that a function computes feature columns.

    The function receives a ``Segment`` and returns one array per column, shape (n,), in the order of ``columns``.
    It must give a defined value for flat bars, zero volume and zero variance: a value that is not finite after the
    look-back is an error. Rows before the look-back are masked by the runner.

    Args:
        columns: look-back in bars of each column, by name; or a function of the ``Setting`` that returns it.
        unit: unit of the values.
        source: paper or book.
        level: whether the columns are price levels.
        needs_volume: whether the columns are left out for a series without volume.
        tolerance: for recursive formulas: the weight that is left of bars older than the look-back.
    """

    def declare(function: Compute) -> Compute:
        group = function.__module__.rpartition(".")[2]
        declared = Feature(function, group, columns, unit, source, level, needs_volume, tolerance)
        function.__feature__ = declared  # type: ignore[attr-defined]
        return function

    return declare


def extra_folders() -> list[Path]:
    """Folders with further group files, from the environment."""
    return extras.folders(EXTRA_FOLDERS)


def group_files(folders: Iterable[Path] = ()) -> dict[str, Path]:
    """Find the group files, by group name in alphabetical order.

    Raises:
        InputError: a folder does not exist, or two files define the same group.
    """
    files: dict[str, Path] = {}
    for folder in (_OWN, *folders):
        if not folder.is_dir():
            raise InputError(f"{EXTRA_FOLDERS} names {folder}, which is not a folder")
        for file in sorted(folder.glob("[!_]*.py")):
            if file.stem in files:
                raise InputError(
                    f"feature group {file.stem!r} is defined by {files[file.stem]} and by {file}"
                )
            files[file.stem] = file
    return dict(sorted(files.items()))


def extra_files() -> dict[str, Path]:
    """Find the group files that are not part of this package, by group name."""
    return {group: file for group, file in group_files(extra_folders()).items() if file.parent != _OWN}


def _module(group: str, file: Path) -> ModuleType:
    if file.parent == _OWN:
        return importlib.import_module(f"mlfactory.features.groups.{group}")
    spec = importlib.util.spec_from_file_location(f"mlfactory_extra_groups.{group}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def load(folders: Iterable[Path] | None = None) -> list[Feature]:
    """Load every feature, by group in alphabetical order, then in the order of definition.

    Args:
        folders: further folders with group files; by default those of the environment.
    """
    found = []
    for group, file in group_files(extra_folders() if folders is None else folders).items():
        members = vars(_module(group, file)).values()
        found += [f for f in (getattr(m, "__feature__", None) for m in members) if f and f.group == group]
    return found


def describe(found: Iterable[Feature], setting: Setting) -> dict[Feature, list[Column]]:
    """Describe the columns of each feature for bars of one setting.

    Raises:
        InputError: two features yield the same column.
    """
    described = {f: f.catalogue(setting) for f in found}
    owner: dict[str, str] = {}
    for column in (column for columns in described.values() for column in columns):
        if column.name in owner:
            raise InputError(
                f"column {column.name!r} is yielded by group {owner[column.name]!r} and by {column.group!r}"
            )
        owner[column.name] = column.group
    return described


def catalogue(setting: Setting | None = None, folders: Iterable[Path] | None = None) -> list[dict[str, Any]]:
    """List every column as a plain dictionary, in the order of the ``features`` table.

    Args:
        setting: what the bars are like; by default 1-minute bars with the usual ladder and no regime columns.
        folders: further folders with group files; by default those of the environment.
    """
    described = describe(load(folders), setting or Setting())
    return [asdict(column) for columns in described.values() for column in columns]
