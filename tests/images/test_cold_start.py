"""A cold process of any stage finds every kernel that it runs compiled for a fixed CPU, on a root it cannot write.

The kernels are baked as images/Dockerfile does it: from copied sources of one age, by the rehearsals. Then the stages
run on other bars, with what the stages before them wrote.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlfactory.common.images import IMAGES, copy

PACKAGE = Path(__file__).resolve().parents[2] / "components" / "mlfactory"
DOCKERFILE = PACKAGE.parents[1] / "images" / "Dockerfile"
STAGES = ("ingest", "regime", "mtf", "features", "labels")
"""Stages with kernels, in the order in which they run."""
CPU = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
BAKE = """
import importlib, sys
for stage in sys.argv[1:]:
    importlib.import_module(f"mlfactory.{stage}.warm").warm()
"""
RUN = """
import importlib, json, pathlib, sys
import mlfactory.common.jit  # says where the cache is, before numba asks
import numba.core.caching as caching
from mlfactory.common.stage import call

missed, loaded = [], []
load = caching.Cache.load_overload

def counted(self, signature, context):
    found = load(self, signature, context)
    (missed if found is None else loaded).append(str(self._name).split()[1])  # of "<function NAME at ...>"
    return found

caching.Cache.load_overload = counted
folder, stages = pathlib.Path(sys.argv[1]), sys.argv[2:]
INGEST = {"source": "synthetic:", "symbol": "ES", "params": {"synthetic": {"bars": 3500, "seed": 5}}}
NAMES = {
    "ingest": (INGEST, ("bars", "quarantine", "data_report")),
    "regime": ({"params": {"window_bars": 600, "burn_in_bars": 60}}, ("bars", "regime", "regime_report", "states")),
    "mtf": ({"params": {}}, ("bars", "mtf")),
    "features": ({"params": {}}, ("bars", "regime", "mtf", "features")),
    "labels": ({"params": {}}, ("bars", "labels")),
}
told = {}
for stage in stages:
    given, names = NAMES[stage]
    missed.clear(), loaded.clear()
    call(importlib.import_module(f"mlfactory.{stage}.stage").run, {**given, **{n: folder / n for n in names}})
    told[stage] = {"missed": sorted(missed), "loaded": len(loaded)}
print(json.dumps(told))
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    given = {"PATH": "", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", **CPU, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources() -> str:
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def baked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources and kernels as in an image; kept between test runs while the sources are the same."""
    cache = getattr(request.config, "cache", None)
    home = Path(cache.mkdir("kernels")) if cache else tmp_path_factory.mktemp("kernels")
    place = home / sources()
    if not (place / "complete").is_file():
        shutil.rmtree(home, ignore_errors=True)
        for name in STAGES:
            copy(name, place / "app")
        kernels = place / "kernels"
        python(BAKE, *STAGES, PYTHONPATH=str(place / "app"), NUMBA_CACHE_DIR=str(kernels))
        (place / "complete").touch()
    return place


def run(baked: Path, kernels: Path, folder: Path, *stages: str) -> dict[str, dict[str, list[str]]]:
    """Run stages in one cold process; what each compiled and how many kernels it loaded."""
    (folder / "tmp").mkdir(exist_ok=True)
    said = python(
        RUN,
        str(folder),
        *stages,
        PYTHONPATH=str(baked / "app"),
        PYTHONDONTWRITEBYTECODE="1",
        MLF_KERNEL_CACHE=str(kernels),
        TMPDIR=str(folder / "tmp"),
    )
    told: dict[str, dict[str, list[str]]] = json.loads(said.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def cold(
    baked: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, dict[str, list[str]]]]:
    folder = tmp_path_factory.mktemp("cold")
    before = contents(baked)
    told = run(baked, baked / "kernels", folder, *STAGES)
    assert contents(baked) == before, "the root was written to"
    return folder, told


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_compiles_nothing(stage: str, cold: tuple[Path, dict[str, dict[str, list[str]]]]) -> None:
    assert cold[1][stage]["missed"] == []
    assert cold[1][stage]["loaded"]


def test_a_kernel_that_was_not_baked_is_named(
    baked: Path, cold: tuple[Path, dict[str, dict[str, list[str]]]], tmp_path: Path
) -> None:
    shutil.copytree(baked / "kernels", tmp_path / "kernels")
    (index,) = (tmp_path / "kernels").rglob("kernels.run_length-*.nbi")
    index.unlink()
    folder = cold[0]
    assert run(baked, tmp_path / "kernels", folder, "features")["features"]["missed"] == ["run_length"]


def test_every_stage_with_kernels_and_a_rehearsal_is_tried() -> None:
    with_kernels = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if "\n@kernel" in file.read_text(encoding="utf-8")
    }
    assert with_kernels & {row.stage for row in IMAGES.values()} == set(STAGES)


def test_the_images_are_baked_for_the_same_cpu() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert f"ARG CPU={CPU['NUMBA_CPU_NAME']}\n" in text
    assert "NUMBA_CPU_NAME=${CPU} NUMBA_CPU_FEATURES= " in text
    assert os.environ.get("NUMBA_CPU_NAME", "") in ("", CPU["NUMBA_CPU_NAME"])
