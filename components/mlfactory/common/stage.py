"""The one way a stage runs: in a KFP component, or in a shell where ``run`` states the command line."""

import argparse
import inspect
import json
import os
import re
import resource
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlfactory.common.artifacts import clean, read_provenance, sha256, to_json
from mlfactory.common.errors import InputError
from mlfactory.common.params import Params, parse

MARK = "mlfactory |"
"""Starts the line that a stage prints when it ends; ``PROGRESS`` starts a line of progress inside a stage."""
PROGRESS = "mlfactory >"


@dataclass(frozen=True)
class Summary:
    """What a stage reports when it ends."""

    line: str
    """counts in plain words, for people"""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """numbers for the KFP user interface"""


Run = Callable[..., Summary]


def progress(what: str, done: int, total: int) -> None:
    """Print one plain line of progress; ``mlfactory run`` turns it into a progress bar."""
    print(f"{PROGRESS} {what} | {done}/{total}", flush=True)  # noqa: T201


def note(what: str) -> None:
    """Print one line on what a stage did otherwise than it was asked to; the log of a run keeps it."""
    print(f"note: {what}", flush=True)  # noqa: T201


def stage_of(run: Run) -> str:
    """Name the stage that ``run`` belongs to, by its folder."""
    return Path(inspect.getfile(run)).parent.name


def call(run: Run, arguments: Mapping[str, Any]) -> Summary:
    """Call ``run`` with each argument converted to the type its signature states.

    Raises:
        InputError: a parameter is unknown or has a wrong type.
    """
    hints = typing.get_type_hints(run)
    stage = stage_of(run)
    converted = {name: _convert(hints[name], value, f"{stage}.{name}") for name, value in arguments.items()}
    return run(**converted)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is Path:
        return Path(value)
    if typing.get_origin(hint) is list and typing.get_args(hint) == (Path,):
        return [Path(item) for item in value or []]
    if isinstance(hint, type) and issubclass(hint, Params):
        return parse(hint, value, stage_section(where))
    return hint(value)


def stage_section(where: str) -> str:
    """The configuration section that a stage's ``params`` argument comes from."""
    return where.removesuffix(".params")


def execute(run: Run, timings: Any, **arguments: Any) -> Summary:
    """Run a stage inside a KFP component: artifacts become paths, time and memory go to ``timings``.

    Every output artifact receives its hash and counts as metadata. ``timings`` is a ``Metrics`` artifact, the
    only one that holds volatile facts.
    """
    started = time.perf_counter()
    paths = {name: _paths(value) for name, value in arguments.items()}
    summary = call(run, paths)
    seconds = time.perf_counter() - started
    mebibytes = peak_mebibytes()
    for value in arguments.values():
        if _is_output(value):
            _describe(value)
    facts = {"seconds": round(seconds, 3), "peak_mib": round(mebibytes, 1), **clean(summary.metrics)}
    Path(timings.path).parent.mkdir(parents=True, exist_ok=True)
    # KFP keeps metrics as metadata alone; its local cache takes a missing file for a missing artifact
    Path(timings.path).write_text(
        to_json({"stage": stage_of(run), "line": summary.line, **facts}), encoding="utf-8"
    )
    for name, number in facts.items():
        if isinstance(number, int | float):
            timings.log_metric(name, float(number))
    print(f"{MARK} {stage_of(run)} | {summary.line} | {seconds:.2f} | {mebibytes:.0f}", flush=True)  # noqa: T201
    return summary


def peak_mebibytes() -> float:
    """Largest resident memory of this process or of any child that ended, in MiB."""
    own, children = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(own, children) / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _paths(value: Any) -> Any:
    if isinstance(value, list) and value and hasattr(value[0], "path"):
        return [item.path for item in value]
    return value.path if hasattr(value, "path") else value


def _is_output(value: Any) -> bool:
    return hasattr(value, "path") and not value.metadata and Path(value.path).exists()


def _describe(artifact: Any) -> None:
    facts = read_provenance(Path(artifact.path))
    shown = {key: facts[key] for key in ("artifact", "schema_version", "rows") if key in facts}
    artifact.metadata.update(clean({**shown, "sha256": sha256(Path(artifact.path))}))


def main(run: Run, argv: Sequence[str] | None = None) -> None:
    """Run a stage from the shell; exit code 2 and one line on bad input."""
    arguments = _parser(run).parse_args(argv)
    try:
        summary = call(run, {name: value for name, value in vars(arguments).items() if value is not None})
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that is closed
        if not error.strerror:
            raise
        print(f"error: {error.strerror}: {error.filename}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    print(f"{stage_of(run)}: {summary.line}")  # noqa: T201


def _parser(run: Run) -> argparse.ArgumentParser:
    about, told = _told(inspect.getdoc(run) or "")
    parser = argparse.ArgumentParser(prog=f"python -m {run.__module__}", description=about)
    if run.__module__ == "__main__":
        parser.prog = f"python -m mlfactory.{stage_of(run)}.stage"
    hints = typing.get_type_hints(run)
    for name, spec in inspect.signature(run).parameters.items():
        hint, required = hints[name], spec.default is inspect.Parameter.empty
        flag = f"--{name.replace('_', '-')}"
        if isinstance(hint, type) and issubclass(hint, Params):
            known = ", ".join(hint.model_fields)
            words = f"{told.get(name, '')} JSON object; keys: {known}".strip()
            parser.add_argument(flag, dest=name, type=_json, default={}, metavar="JSON", help=words)
        else:
            several = typing.get_origin(hint) is list
            parser.add_argument(
                flag,
                dest=name,
                required=required,
                nargs="+" if several else None,
                metavar="PATH" if several else getattr(hint, "__name__", "VALUE").upper(),
                help=told.get(name),
            )
    return parser


def _told(doc: str) -> tuple[str, dict[str, str]]:
    """Take a docstring apart: what comes before ``Args:``, and the text of each argument, fit for argparse."""
    about, _, rest = doc.partition("\nArgs:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", rest.partition("\nRaises:")[0], re.MULTILINE)
    return about.strip(), {name: " ".join(text.split()).replace("%", "%%") for name, text in entries}


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text} is not a JSON object; expected {{"key": value}}')
    return value


def single_threaded() -> dict[str, str]:
    """Environment for reproducible runs: one thread per library, so that sums are taken in one order."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: os.environ.get(name, "1") for name in names}
