"""What an image holds imports its own stage, those that it uses, and no other."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mlfactory.common.images import IMAGES, copy

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "components" / "mlfactory"
STAGES = sorted({row.stage for row in IMAGES.values()})

LOOK = """
import importlib, sys
own, *others = sys.argv[1:]
importlib.import_module(own)
for name in others:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name and name.startswith(error.name), error
    else:
        sys.exit(f"{name} can be imported")
"""


def look(name: str, folder: Path, own: str, others: list[str]) -> subprocess.CompletedProcess[str]:
    """Import ``own``, then try the others, where only the sources of the image ``name`` are at hand."""
    copy(name, folder)
    # -S leaves out the .pth files of an editable install, which would find the whole package
    command = [sys.executable, "-S", "-W", "ignore", "-c", LOOK, own, *others]
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_imports_its_own_stage_and_no_other_that_it_does_not_use(name: str, tmp_path: Path) -> None:
    row = IMAGES[name]
    others = [f"mlfactory.{stage}" for stage in STAGES if stage not in (row.stage, *row.uses)]
    families = {path.name for path in (PACKAGE / "models").iterdir() if path.is_dir()} - {"__pycache__"}
    held = families if row.models == ("*",) else set(row.models)
    others += [f"mlfactory.models.{family}" for family in sorted(families - held)]
    done = look(name, tmp_path, f"mlfactory.{row.stage}.stage", others)
    assert done.returncode == 0, done.stderr


def test_a_stage_that_can_be_imported_elsewhere_is_noticed(tmp_path: Path) -> None:
    done = look("labels", tmp_path, "mlfactory.labels.params", ["mlfactory.labels.stage"])
    assert done.returncode != 0
    assert "mlfactory.labels.stage can be imported" in done.stderr
