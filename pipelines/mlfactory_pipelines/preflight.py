"""What can be refused before anything is created: file, contract, number of bars, folder, engine."""

from pathlib import Path

from mlfactory.common.artifacts import sha256
from mlfactory.common.errors import InputError
from mlfactory.common.params import parse
from mlfactory_pipelines.local import DOCKER
from mlfactory_pipelines.plan import Plan

SYNTHETIC = "synthetic:"
CONFIG = "config.yaml"


def check_out(out: Path, resume: bool) -> None:
    """Accept a folder that is absent or empty, or, to resume, one that holds a run.

    Raises:
        InputError: says which of both it is not.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; expected a folder")
    if resume and not (out / CONFIG).is_file():
        raise InputError(f"--out {out} holds no run to resume")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"--out {out} exists and is not empty: add --resume to go on with its run, or name another folder"
        )


def check_input(plan: Plan) -> None:
    """Read the source as the ingest stage will, look up the contract and count the bars.

    Raises:
        InputError: the file is missing, empty, unreadable or short, lacks a column, or the symbol is unknown.
    """
    from mlfactory.ingest.instruments import instrument
    from mlfactory.ingest.params import Params
    from mlfactory.ingest.source import local_copy, read_rows

    ingest = parse(Params, plan.sections["ingest"], "ingest")
    if plan.top.symbol:
        instrument(plan.top.symbol, ingest.instrument)
    if plan.top.source.startswith(SYNTHETIC):
        bars = ingest.synthetic.bars
    else:
        with local_copy(plan.top.source) as path:
            bars = len(read_rows(path, ingest))
    bars = min(bars, ingest.last or bars)
    if bars < (least := fewest_bars(plan)):
        raise InputError(f"{bars:,} bars are too few: {plan.sections['dataset']} needs at least {least:,}")


def fewest_bars(plan: Plan) -> int:
    """Bound from below the bars that the folds of a plan need."""
    return 0


def check_runner(runner: str, images: list[str]) -> None:
    """Ask the Docker engine for every image of a run.

    Raises:
        InputError: there is no engine, or images are missing.
    """
    if runner != DOCKER:
        return
    import docker

    try:
        client = docker.from_env()
        client.ping()
        have = {tag for image in client.images.list() for tag in image.tags}
        client.close()
    except docker.errors.DockerException as error:
        raise InputError(f"--runner docker needs a Docker engine: {' '.join(str(error).split())}") from None
    if missing := sorted({name for name in images if name not in have}):
        raise InputError(f"images are missing: {', '.join(missing)}; run `make images`")


def stow(source: str, root: Path) -> tuple[str, str]:
    """Copy an input file into the run by its content, and return the copy's path and hash.

    A file that changes under one name becomes another file here, so nothing that was made of the old one is
    taken for the new one's. The embedded series needs no copy.
    """
    if source.startswith(SYNTHETIC):
        return source, ""
    import shutil

    from mlfactory.common.artifacts import new_file
    from mlfactory.ingest.source import local_copy

    with local_copy(source) as path:
        version = sha256(path)
        copy = root / "inputs" / f"{version}{''.join(path.suffixes[-2:])}"
        if not copy.is_file():
            with new_file(copy) as temporary:
                shutil.copyfile(path, temporary)
    return str(copy), version
