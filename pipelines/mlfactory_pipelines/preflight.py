"""What can be refused before anything is created: file, contract, number of bars, folder, engine."""

import fcntl
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from mlfactory.common.artifacts import new_file, sha256
from mlfactory.common.errors import InputError
from mlfactory.common.params import parse
from mlfactory_pipelines.local import DOCKER
from mlfactory_pipelines.plan import Plan

SYNTHETIC = "synthetic:"
CONFIG = "config.yaml"
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*/?")


def check_out(out: Path, resume: bool) -> None:
    """Accept a folder that is absent or empty, or, to resume, one that holds a run.

    Raises:
        InputError: says which of both it is not.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; expected a folder")
    if resume and not (out / CONFIG).is_file():
        raise InputError(f"--out {out} holds no run to resume")
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"--out {out} cannot be created: {above} is a file")
    if not os.access(above, os.R_OK | os.W_OK | os.X_OK):
        raise InputError(f"--out {out} cannot be written: {above} is closed to this user")
    if not resume and not is_new(out):
        raise InputError(
            f"--out {out} exists and is not empty: add --resume to go on with its run, or name another folder"
        )


def is_new(out: Path) -> bool:
    """Whether a folder is absent or empty."""
    return not out.exists() or not any(out.iterdir())


@contextmanager
def sole_run(root: Path) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs.

    Raises:
        InputError: a run is going on in it.
    """
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"--out {root.parent}: another run is going on in this folder") from None
        yield


def check_input(plan: Plan) -> None:
    """Read the source as the ingest stage will, look up the contract and count the bars.

    Raises:
        InputError: the file is missing, empty, unreadable or short, lacks a column, or the symbol is unknown.
    """
    from mlfactory.ingest.checks import detect_grid
    from mlfactory.ingest.params import Params
    from mlfactory.ingest.source import NO_TIME, local_copy, read_rows

    check_names(plan)
    ingest = parse(Params, plan.sections["ingest"], "ingest")
    if plan.top.source == SYNTHETIC:
        bars, bar_minutes = ingest.synthetic.bars, 1
    else:
        with local_copy(plan.top.source) as path:
            stamps = read_rows(path, ingest).microsecond
        bars = len(stamps)
        bar_minutes = detect_grid(stamps[stamps != NO_TIME], ingest.bar_minutes).bar_minutes
    bars = min(bars, ingest.last or bars)
    warm_up, rows = fewest_rows(plan, bar_minutes)
    if bars < warm_up + rows:
        raise InputError(
            f"{bars:,} bars of {bar_minutes} min are too few: {warm_up:,} for the warm-up of the columns and at "
            f"least {rows:,} for {plan.sections['dataset']['n_folds']} folds and the locked test are needed"
        )


def check_names(plan: Plan) -> None:
    """Look up the contract and the barriers of every horizon.

    Raises:
        InputError: one does not exist; those that do are listed.
    """
    from mlfactory.ingest.instruments import instrument
    from mlfactory.ingest.params import Params
    from mlfactory.labels.params import Params as Labels

    ingest = parse(Params, plan.sections["ingest"], "ingest")
    contract = instrument(plan.top.symbol, ingest.instrument).root if plan.top.symbol else ""
    labels = parse(Labels, plan.sections["labels"], "labels")
    for horizon in labels.horizons:
        labels.barrier(horizon, contract or plan.top.symbol)


def fewest_rows(plan: Plan, bar_minutes: int) -> tuple[int, int]:
    """Bound from below the bars of a plan: those that warm the columns up, and those that the folds need.

    Purging takes more than this; the dataset stage refuses what passes here and is too short all the same.

    Raises:
        InputError: a step or timeframe is not to be had from bars of this length.
    """
    from mlfactory.common.splits import MIN_ROWS
    from mlfactory.dataset.feature_sets import feature_sets, timeframes
    from mlfactory.dataset.params import Params as Dataset
    from mlfactory.dataset.parts import splits
    from mlfactory.features.compute import plan as choose
    from mlfactory.features.params import Params as Features
    from mlfactory.features.registry import load
    from mlfactory.features.segment import Setting
    from mlfactory.mtf.bins import usable
    from mlfactory.regime.compute import lookbacks
    from mlfactory.regime.params import Params as Regime

    sections = plan.sections
    steps, _ = usable(sections["mtf"]["steps"], bar_minutes)
    regime = lookbacks(parse(Regime, sections["regime"], "regime"), bar_minutes)
    setting = Setting(bar_minutes, tuple(step for step in steps if step > bar_minutes), regime)
    chosen = choose(load(), setting, parse(Features, sections["features"], "features"))
    columns = [asdict(column) for column in chosen.columns]
    data = parse(Dataset, sections["dataset"], "dataset")
    timeframes(data.timeframes, steps, bar_minutes)
    own = {str(name): chosen for name, chosen in data.feature_sets.items()}
    used = {name for names in feature_sets(columns, own).values() for name in names}
    warm_up = max(column.lookback for column in chosen.columns if column.name in used) - 1
    blocks, folds = splits(data)
    block = (1 - data.test_fraction) / blocks  # share of all rows
    trained = block * min(len(fold.train) for fold in folds)
    shares = [
        data.test_fraction,
        block * min(len(fold.held_out) for fold in folds),
        trained * (data.inner_fraction or 1),
    ]
    return warm_up, math.ceil(data.stride * MIN_ROWS / min(shares))


def check_runner(runner: str, images: list[str]) -> None:
    """Ask the Docker engine for every image of a run.

    Raises:
        InputError: there is no engine, or images are missing.
    """
    if runner != DOCKER:
        return
    import docker

    try:
        with closing(docker.DockerClient.from_env()) as client:
            have = {tag for image in client.images.list() for tag in image.tags}
    except docker.errors.DockerException as error:
        raise InputError(f"--runner docker needs a Docker engine: {' '.join(str(error).split())}") from None
    if missing := sorted(set(images) - have):
        raise InputError(f"images are missing: {', '.join(missing)}; build them with `make images`")


def check_output(path: Path, option: str = "--output", suffix: str = ".yaml") -> None:
    """Accept a file that can be written.

    Raises:
        InputError: it has another suffix, or its folder is missing or closed to this user.
    """
    if path.suffix != suffix:
        raise InputError(f"{option} {path}: the name must end with {suffix}")
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; expected a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{option} {path}: its folder does not exist")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{option} {path} may not be written by this user")


def check_registry(registry: str) -> None:
    """Accept what can stand before an image name.

    Raises:
        InputError: it holds a character that no image name may have.
    """
    if not _REGISTRY.fullmatch(registry):
        raise InputError(
            f"--registry {registry!r} cannot precede an image name; expected for example localhost:5000/me"
        )


def stow(source: str, root: Path) -> tuple[str, str]:
    """Copy an input file into the run by its content, and return the copy's path and hash.

    A file that changes under one name becomes another file here, so nothing that was made of the old one is
    taken for the new one's. The embedded series needs no copy.
    """
    from mlfactory.ingest.source import local_copy

    if source == SYNTHETIC:
        return source, ""
    with local_copy(source) as path:
        version = sha256(path)
        copy = root / "inputs" / f"{version}{''.join(path.suffixes[-2:])}"
        if not copy.is_file():
            with new_file(copy) as temporary:
                shutil.copyfile(path, temporary)
    return str(copy), version
