"""The import contracts hold, and each one fails when it is violated."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

VIOLATIONS = {
    "Stages stand side by side": ("components/mlfactory/oof/stage.py", "import mlfactory.labels.params"),
    "The wiring is above": ("components/mlfactory/report/stage.py", "import mlfactory_pipelines.plan"),
    "Only a component's face": ("components/mlfactory/labels/stage.py", "import kfp"),
    "Only the wiring imports": ("components/mlfactory/mtf/stage.py", "import mlfactory.mtf.component"),
    "A component's face computes": ("components/mlfactory/labels/component.py", "import numpy"),
    "The kernel needs no model": ("components/mlfactory/common/bars.py", "import torch"),
}
LAYERS = {
    "a stage above the models": ("components/mlfactory/models/registry.py", "import mlfactory.labels.params"),
    "models above the kernel": ("components/mlfactory/common/bars.py", "import mlfactory.models.registry"),
}


def broken(root: Path) -> tuple[int, set[str]]:
    """Run the contracts in a source tree; give the exit code and the names of the broken ones."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    environment = {"PYTHONPATH": f"{root}/components:{root}/pipelines", "PATH": "", "COLUMNS": "500"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    names = re.findall(r"^(.*) BROKEN", done.stdout, flags=re.M)
    assert done.returncode in (0, 1), done.stderr
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.returncode, set(names)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources in which something can be planted."""
    for folder in ("components", "pipelines"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(tree: Path, file: str, line: str) -> None:
    with (tree / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")


def test_all_contracts_hold(tree: Path) -> None:
    assert broken(tree) == (0, set())


def test_each_contract_fails_when_it_is_violated(tree: Path) -> None:
    for file, line in VIOLATIONS.values():
        plant(tree, file, line)
    code, names = broken(tree)
    assert code == 1
    assert {start for start in VIOLATIONS for name in names if name.startswith(start)} == set(VIOLATIONS)


@pytest.mark.parametrize("case", LAYERS)
def test_the_layers_are_kept_apart(case: str, tree: Path) -> None:
    plant(tree, *LAYERS[case])
    _, names = broken(tree)
    assert any(name.startswith("Stages stand side by side") for name in names)


def test_a_stage_that_nobody_placed_is_noticed(tree: Path) -> None:
    (tree / "components/mlfactory/planted").mkdir()
    (tree / "components/mlfactory/planted/__init__.py").touch()
    _, names = broken(tree)
    assert any(name.startswith("Stages stand side by side") for name in names)


def test_importing_the_faces_loads_no_model_library() -> None:
    faces = sorted(path.parent.name for path in (ROOT / "components" / "mlfactory").glob("*/component.py"))
    heavy = ["torch", "sklearn", "xgboost", "lightgbm", "catboost", "numba"]
    code = (
        "import importlib, sys\n"
        f"for face in {faces}: importlib.import_module(f'mlfactory.{{face}}.component')\n"
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or None)"
    )
    environment = {"PYTHONPATH": str(ROOT / "components"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
