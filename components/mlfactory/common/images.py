"""The table of images: what each one holds, and the content hash that names it.

A tag is the hash of everything that the build reads, so an unchanged image keeps its name (and KFP its cached
steps) and a changed one never hides behind an old name.
"""

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlfactory.common import extras
from mlfactory.common.errors import InputError

TAG: Final = "MLF_TAG"
"""Environment variable that states the tag where the repository is not at hand to compute it."""
REGISTRY: Final = "MLF_REGISTRY"
"""Environment variable that names the registry and its path, put before every image name."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_REPOSITORY: Final = _PACKAGE.parent.parent
# 1980-01-01, in whole seconds: numba compares the times of its sources, and every layer format keeps this one
_OLD: Final = 315_532_800


EVERY: Final = ("*",)
"""All families of models."""


@dataclass(frozen=True)
class Image:
    """One row of the table: the sources that an image holds besides the kernel."""

    stage: str
    """folder of ``mlfactory`` that runs in it"""
    models: tuple[str, ...] = ()
    """families of ``mlfactory.models`` that it fits or combines"""
    uses: tuple[str, ...] = ()
    """folders of other stages that this one calls: those below it in the import contract"""


IMAGES: Final[dict[str, Image]] = {
    "ingest": Image("ingest"),
    "regime": Image("regime"),
    "mtf": Image("mtf"),
    "features": Image("features"),
    "labels": Image("labels"),
    "audit": Image("audit", uses=("regime", "mtf", "features", "labels", "report")),
    "dataset": Image("dataset"),
    "train-boosting": Image("train", models=("boosting",)),
    "train-classical": Image("train", models=("classical",)),
    "train-neural": Image("train", models=("neural",)),
    "train-cnn": Image("train", models=("cnn",)),
    "train-transformer": Image("train", models=("transformer",)),
    "oof": Image("oof"),
    "stacking": Image("stacking", models=EVERY),
    "report": Image("report"),
}
"""Image name to its content; ``images/<name>/requirements.txt`` lists what is installed in it."""


def image(name: str) -> str:
    """Name an image with its registry and tag, such as ``mlfactory/python-labels:1f0c...``.

    Raises:
        InputError: the table has no such image, or its tag is unknown.
    """
    registry = os.environ.get(REGISTRY, "").rstrip("/")
    # kfp.local warns about every image whose name lacks the word python
    return f"{registry}{'/' if registry else ''}mlfactory/python-{name}:{tag(name)}"


def tag(name: str, repository: Path = _REPOSITORY) -> str:
    """Hash what a step runs: Dockerfile, requirements, constraints, sources, and a user's own models or features.

    Raises:
        InputError: the table has no such image, or ``repository`` is no source tree and ``MLF_TAG`` is unset.
    """
    folder, row = repository / "images", _row(name)
    if not (folder / "Dockerfile").is_file():
        if stated := os.environ.get(TAG):
            return stated
        raise InputError(
            f"{folder} does not hold the Dockerfile that image tags are made of: "
            f"install the repository in place (pip install -e) or set {TAG}"
        )
    package = repository / "components" / "mlfactory"
    recipe = ["Dockerfile", "common/requirements.txt", f"{name}/requirements.txt"]
    read = [repository / "constraints.txt", *(folder / part for part in recipe), *sources(row, package)]
    named = [(file, file.relative_to(repository)) for file in read] + _own(row)
    digest = hashlib.sha256()
    for file, known_as in named:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{known_as.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def _own(row: Image) -> list[tuple[Path, Path]]:
    """List a user's own files that the step loads: no image holds them, so no image may answer to their tag."""
    groups = extras.folders(extras.FEATURE_GROUPS) if "features" in (row.stage, *row.uses) else []
    found = [(file, folder) for folder in groups for file in folder.glob("*.py")]
    for folder in extras.folders(extras.MODELS):
        found += [(file, folder) for family in row.models for file in folder.glob(f"{family}/*.py")]
    return sorted((file, file.relative_to(folder)) for file, folder in found)


def sources(row: Image, package: Path = _PACKAGE) -> list[Path]:
    """List the files of ``mlfactory`` that an image holds, sorted.

    Raises:
        InputError: a folder of the row does not exist.
    """
    package_files = [package / "__init__.py"]
    for part in ("common", row.stage, *row.uses):
        if not (package / part).is_dir():
            raise InputError(f"{package / part} does not exist: the table of images names it")
        package_files += (package / part).rglob("*")
    for family in row.models:
        package_files += (package / "models").glob("*.py")  # what the families share
        package_files += (package / "models").glob(f"{family}/**/*")
    files = {file for file in package_files if file.is_file()}
    return sorted(file for file in files if not _left_out(file.relative_to(package)))


def copy(name: str, target: Path, package: Path = _PACKAGE) -> None:
    """Copy the sources of an image to ``target``, all with one modification time."""
    for file in sources(_row(name), package):
        place = target / "mlfactory" / file.relative_to(package)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        os.utime(place, (_OLD, _OLD))


def _row(name: str) -> Image:
    if name not in IMAGES:
        raise InputError(f"image {name!r} is not in the table; known: {', '.join(sorted(IMAGES))}")
    return IMAGES[name]


def _left_out(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)


if __name__ == "__main__":
    copy(sys.argv[1], Path(sys.argv[2]))
