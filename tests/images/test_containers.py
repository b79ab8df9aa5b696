"""Each image runs its own stage, and those that it uses, and no other: read-only, without network, without rights."""

import os
import subprocess
from pathlib import Path

import pytest

from mlfactory.common.images import EVERY, IMAGES, image

PACKAGE = Path(__file__).resolve().parents[2] / "components" / "mlfactory"
STAGES = sorted({row.stage for row in IMAGES.values()})
WARM = sorted(name for name, row in IMAGES.items() if (PACKAGE / row.stage / "warm.py").is_file())

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("images")]

LOCKED = (
    "--network=none",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
LOOK = """
import importlib, os, pathlib, sys
os.environ["_KFP_RUNTIME"] = "true"
importlib.import_module("kfp.dsl.executor_main")
own, *others = sys.argv[1:]
importlib.import_module(own)
for name in others:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name and name.startswith(error.name), error
    else:
        sys.exit(f"{name} can be imported")
try:
    pathlib.Path("/app/planted").touch()
except OSError:
    print(os.getuid(), os.getgid())
else:
    sys.exit("the root is writable")
"""
# numba reports each kernel that it reads from its cache and each that it has to compile
COUNT = """
import importlib, sys
import mlfactory.common.jit  # says where the cache is, before numba asks
import numba.core.caching as caching
missed = []
load = caching.Cache.load_overload
def counted(self, sig, target_context):
    found = load(self, sig, target_context)
    if found is None:
        missed.append(f"{self._name}{sig}")
    return found
caching.Cache.load_overload = counted
importlib.import_module(sys.argv[1]).warm()
sys.exit(", ".join(missed) or None)
"""


def contain(name: str, *command: str, flags: tuple[str, ...] = LOCKED) -> subprocess.CompletedProcess[str]:
    user = f"--user={os.getuid()}:0"
    docker = ["docker", "run", "--rm", "--pull=never", user, *flags, image(name), *command]
    return subprocess.run(docker, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", IMAGES)
def test_a_locked_down_container_imports_its_own_stage_and_no_other_that_it_does_not_use(name: str) -> None:
    row = IMAGES[name]
    others = [f"mlfactory.{stage}" for stage in STAGES if stage not in (row.stage, *row.uses)]
    families = {path.parent.name for path in (PACKAGE / "models").glob("*/*.py")}
    others += [
        f"mlfactory.models.{family}" for family in sorted(families - {*row.models}) if row.models != EVERY
    ]
    done = contain(name, "python3", "-c", LOOK, f"mlfactory.{row.stage}.stage", *others)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [str(os.getuid()), "0"]


def test_a_container_has_no_network() -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    assert "Network is unreachable" in contain("oof", "python3", "-c", code).stderr


def test_a_container_without_a_given_user_has_no_name_and_no_rights() -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--pull=never", image("oof"), "id", "-u"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "10001"


@pytest.mark.parametrize("name", WARM)
def test_a_container_compiles_no_kernel(name: str) -> None:
    done = contain(name, "python3", "-c", COUNT, f"mlfactory.{IMAGES[name].stage}.warm")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_kernel_that_was_not_compiled_at_build_time_is_noticed() -> None:
    name = "ingest"
    flags = (*LOCKED, "--env=MLF_KERNEL_CACHE=/nowhere", "--env=NUMBA_CACHE_DIR=/tmp/kernels")
    done = contain(name, "python3", "-c", COUNT, f"mlfactory.{IMAGES[name].stage}.warm", flags=flags)
    assert done.returncode == 1
    assert "(" in done.stderr


def test_wheels_and_certificates_of_the_build_are_not_in_the_image() -> None:
    done = contain("oof", "sh", "-c", "ls /build /src 2>&1; find /app -name '*.whl' -o -name '*.crt'")
    assert ".whl" not in done.stdout
    assert done.stdout.count("No such file or directory") == 2
