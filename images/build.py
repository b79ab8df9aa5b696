"""Build the images that the pipeline asks for, skipping those whose content-hash tag exists."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from mlfactory.common.errors import InputError
from mlfactory.common.images import IMAGES, image

REPOSITORY = Path(__file__).resolve().parent.parent
TAIL = 30  # lines of a failed build that are shown
FROM_ENVIRONMENT = ("BASE_IMAGE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""Arguments of the Dockerfile that a site sets once, in its environment."""


def main() -> int:
    """Build all images or the named ones; exit code 2 without an engine, 1 when a build fails."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="IMAGE", help=f"default: all of {', '.join(IMAGES)}")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", dest="arguments")
    parser.add_argument("--rebuild", action="store_true", help="also build what exists")
    options = parser.parse_args()
    if not engine_runs():
        print("error: no Docker engine answers; start one and run this again", file=sys.stderr)
        return 2
    names = options.names or list(IMAGES)
    for number, name in enumerate(names, start=1):
        try:
            reference = image(name)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        place = f"[{number}/{len(names)}] {reference}"
        if exists(reference) and not options.rebuild:
            print(f"{place}  exists", flush=True)
            continue
        print(f"{place}  building ...", flush=True)
        started = time.perf_counter()
        if failed := build(name, reference, options.arguments):
            print(failed, file=sys.stderr)
            print(f"error: the image {name} was not built", file=sys.stderr)
            return 1
        print(f"{place}  built in {time.perf_counter() - started:.0f} s", flush=True)
    return 0


def build(name: str, reference: str, arguments: list[str]) -> str:
    """Build one image; return the last lines of the log if that fails, else nothing."""
    site = [f"{key}={value}" for key in FROM_ENVIRONMENT if (value := os.environ.get(key))]
    given = [f"STAGE={name}", f"REQUIREMENTS={same_requirements(name)}", *site, *arguments]
    flags = [word for argument in given for word in ("--build-arg", argument)]
    # --force-rm: the classic builder otherwise keeps the container of a failed step
    command = ["docker", "build", "--force-rm", "-f", "images/Dockerfile", "-t", reference, *flags, "."]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-TAIL:])


def same_requirements(name: str) -> str:
    """Name the first image of the table that installs the same: its layer, once built, serves both."""

    def content(image_name: str) -> bytes:
        return (REPOSITORY / "images" / image_name / "requirements.txt").read_bytes()

    return next(other for other in IMAGES if content(other) == content(name))


def exists(reference: str) -> bool:
    """Whether the engine holds the image."""
    return _quiet("docker", "image", "inspect", reference)


def engine_runs() -> bool:
    """Whether a Docker engine answers."""
    try:
        return _quiet("docker", "info")
    except FileNotFoundError:
        return False


def _quiet(*command: str) -> bool:
    silent = subprocess.DEVNULL
    return subprocess.run(command, stdin=silent, stdout=silent, stderr=silent, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
