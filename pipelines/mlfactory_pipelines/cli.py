"""The ``mlfactory`` command: run the pipeline here, compile it for a cluster, list what it is made of."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlfactory.common.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from mlfactory_pipelines.plan import Plan, Tree
    from mlfactory_pipelines.run import StageFailed, Task

app = typer.Typer(
    name="mlfactory",
    help="A leak-free stacked ensemble on 1-minute futures bars, as a Kubeflow pipeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


_WIDE = 240
"""Columns of a table that goes to a file or a pipe."""


class Runner(StrEnum):
    """Where steps run."""

    subprocess = "subprocess"
    docker = "docker"


Preset = Annotated[str | None, typer.Option(help="smoke, default, full, gpu, or a YAML file of that shape.")]
Models = Annotated[str | None, typer.Option(help="Base models to train, separated by commas.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key.")
]
Symbol = Annotated[str | None, typer.Option(help="Contract of the bars, as in the instrument table.")]
Instruments = Annotated[Path | None, typer.Option(help="YAML file with instruments of your own.")]
Tune = Annotated[int | None, typer.Option(help="Hyper-parameter settings to try per fold of each booster.")]
Last = Annotated[int | None, typer.Option(help="Use the last N bars only.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything that is drawn.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(  # noqa: PLR0913  one argument per option
    bars: Annotated[
        Path | None, typer.Option(help="Parquet or CSV file; the embedded series without it.")
    ] = None,
    symbol: Symbol = None,
    instruments: Instruments = None,
    preset: Preset = None,
    models: Models = None,
    last: Last = None,
    tune: Tune = None,
    assignments: Assignments = None,
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/<preset>-<time> without it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    runner: Annotated[
        Runner, typer.Option(help="Processes of this environment, or containers.")
    ] = Runner.subprocess,
) -> None:
    """Run the whole pipeline on this machine and print the leaderboard."""
    from mlfactory_pipelines import preflight

    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the run to go on with")
    if out is not None:
        preflight.check_out(out, resume)
    base = (
        str(out / preflight.CONFIG) if resume and out is not None and preset is None else preset or "default"
    )
    tree = _sourced(_tree(base, models, assignments, symbol, seed, tune), bars, instruments, last)
    plan = _resolve(tree, assignments)
    preflight.check_input(plan)
    preflight.check_runner(runner, _images(plan) if runner == Runner.docker else [])
    folder = out or Path("runs") / f"{preset or 'default'}-{time.strftime('%Y%m%d-%H%M%S')}"
    _execute(plan, folder, runner)


def _sourced(tree: "Tree", bars: Path | None, instruments: Path | None, last: int | None) -> "Tree":
    """Name the bars of a run and how to read them."""
    if bars is not None:
        tree["source"] = str(bars.absolute())
    if last is not None:
        tree = _section(tree, "ingest", last=last)
    if instruments is not None:
        tree = _section(tree, "ingest", instrument=_own_instrument(instruments, tree.get("symbol", "")))
    return tree


@app.command()
def audit(  # noqa: PLR0913  one argument per option
    bars: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet or CSV file of bars.")],
    symbol: Symbol = None,
    instruments: Instruments = None,
    preset: Preset = None,
    last: Last = None,
    assignments: Assignments = None,
    seed: Seed = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on columns that could not be tested.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
    as_json: Json = False,
) -> None:
    """Prove that no column of a series sees the future or knows where the file starts; exit code 1 if one does."""
    from mlfactory_pipelines import audits, preflight

    if html is not None:
        preflight.check_output(html, "--html", ".html")
    tree = _sourced(_tree(preset or "default", None, assignments, symbol, seed), bars, instruments, last)
    plan = _resolve(_section(tree, "audit", strict=True) if strict else tree, assignments)
    document = audits.perform(plan)
    if html is not None:
        audits.write_page(html, document)
    _print(document if as_json else audits.rows(document), audits.shown(), as_json)
    for line in audits.verdict(document):
        _say(line)
    if html is not None:
        _say(f"page: {html}")
    if document["failed"]:
        raise typer.Exit(1)


def _tree(
    base: str,
    models: str | None,
    assignments: Sequence[str] | None,
    symbol: str | None = None,
    seed: int | None = None,
    tune: int | None = None,
) -> "Tree":
    from mlfactory_pipelines.plan import override, read_tree

    tree = read_tree(base)
    given: dict[str, Any] = {"symbol": symbol, "seed": seed, "tune": tune}
    if models is not None:
        given["models"] = [name.strip() for name in models.split(",") if name.strip()]
        if not given["models"]:
            raise InputError(f"--models {models!r} names no model; leave it out to train all of the preset")
    tree.update({key: value for key, value in given.items() if value is not None})
    for assignment in assignments or ():
        tree = override(tree, assignment)
    return tree


def _resolve(tree: "Tree", assignments: Sequence[str] | None) -> "Plan":
    """Complete a configuration; refuse a ``--set`` for a model that will not be trained or fitted."""
    from mlfactory.models.registry import combiners
    from mlfactory_pipelines.plan import resolve

    plan = resolve(tree)
    for assignment in assignments or ():
        section, _, key = assignment.partition("=")[0].strip().partition(".")
        name = key.partition(".")[0]
        if section != "model" or name in (*plan.top.models, *plan.sections["stacking"]["combiners"]):
            continue
        combines = name in combiners()
        known = plan.sections["stacking"]["combiners"] if combines else plan.top.models
        how, what = ("fitted", "combiners") if combines else ("trained", "models")
        raise InputError(
            f"--set {assignment!r}: {name} is not {how} in this run; its {what}: {', '.join(known)}"
        )
    return plan


def _section(tree: "Tree", section: str, **values: Any) -> "Tree":
    return {**tree, section: {**(tree.get(section) or {}), **values}}


def _own_instrument(path: Path, symbol: str) -> dict[str, Any]:
    from mlfactory.ingest.instruments import load_instruments

    entries = load_instruments(path)
    if not symbol:
        raise InputError(f"--instruments {path} needs --symbol, one of: {', '.join(sorted(entries))}")
    if symbol not in entries:
        raise InputError(f"{path} has no instrument {symbol!r}; it has: {', '.join(sorted(entries))}")
    return entries[symbol]


def _images(plan: "Plan") -> list[str]:
    from mlfactory.common.images import image

    return [image(name) for name in (*plan.stages, *(f"train-{family}" for family in plan.jobs()))]


def _execute(plan: "Plan", out: Path, runner: str) -> None:
    """Run a checked plan in ``out``; leave a folder that holds nothing of worth no more than it was found."""
    from rich.console import Console

    from mlfactory.common.artifacts import new_file
    from mlfactory_pipelines import preflight, results
    from mlfactory_pipelines.local import Request
    from mlfactory_pipelines.plan import to_yaml
    from mlfactory_pipelines.progress import Display
    from mlfactory_pipelines.run import execute

    console, started = Console(), time.perf_counter()
    root = out.absolute() / "root"
    existed, new = out.exists(), preflight.is_new(out)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be created: {error.strerror}") from None
    with preflight.sole_run(root), _endings(out, new=new, existed=existed):
        with new_file(out / preflight.CONFIG) as file:
            file.write_text(to_yaml(plan), encoding="utf-8")
        console.print(to_yaml(plan), markup=False, highlight=False, soft_wrap=True, style="dim")
        source, version = preflight.stow(plan.top.source, root)
        arguments = {
            "source": source,
            "bars_version": version,
            "symbol": plan.top.symbol,
            "seed": plan.top.seed,
            "ledger": str(root / results.LEDGER),
        }
        total = len(plan.stages) + sum(map(len, plan.jobs().values()))
        request = Request(tree=plan.tree(), arguments=arguments, root=str(root), runner=runner)
        tasks = execute(request, out / "run.log", Display(console, total))
        results.sweep(root)
        results.collect(tasks, out, root, time.perf_counter() - started)
    _conclude(console, tasks, out, time.perf_counter() - started)


@contextmanager
def _endings(out: Path, *, new: bool, existed: bool) -> Iterator[None]:
    """Turn what can end a run early into a message and an exit code."""
    from mlfactory_pipelines import results
    from mlfactory_pipelines.run import Interrupted, StageFailed

    try:
        yield
    except KeyboardInterrupt:  # before or after the stages; while they run it is ``Interrupted``
        _say_stopped(out)
        raise typer.Exit(130) from None
    except InputError:
        trained = any(out.glob("root/ml-factory-*/**/fit"))
        if new and not trained:  # nothing of worth is lost
            shutil.rmtree(out, ignore_errors=True)
            if existed:
                out.mkdir(exist_ok=True)
        raise
    except StageFailed as error:
        _say_failed(error, out)
        raise typer.Exit(1) from None
    except Interrupted as error:
        results.sweep(out / "root")
        _say_stopped(out)
        raise typer.Exit(128 + error.number) from None


def _say_stopped(out: Path) -> None:
    _say(f"stopped; go on with: mlfactory run --out {out} --resume")


def _say_failed(error: "StageFailed", out: Path) -> None:
    _say(f"error: {error.task} failed; its last lines:")
    for line in error.lines:
        _say(f"  {line}")
    _say(f"log: {out / 'run.log'}")


def _conclude(console: "Console", tasks: "dict[str, Task]", out: Path, seconds: float) -> None:
    from mlfactory_pipelines import results
    from mlfactory_pipelines.progress import tables

    leaderboard = tasks["report"].outputs["leaderboard"].read_text(encoding="utf-8")
    wide = _wide(console)
    wide.print(*tables(leaderboard, wide.width), sep="\n")
    peak = max(task.timings["peak_mib"] for task in tasks.values())
    console.print(f"{seconds:.1f} s, at most {peak:,.0f} MiB in one step", highlight=False)
    console.print(f"report: {out / results.REPORT_HTML}", highlight=False, soft_wrap=True)
    failed = [f"model {name} failed: {error}" for name, error in results.failed_models(tasks).items()]
    failed += [f"audit: {line}" for line in results.failed_columns(tasks)]
    for what in failed:
        _say(f"error: {what}")
    if failed:
        raise typer.Exit(1)


@app.command("compile")
def compile_(  # noqa: PLR0913  one argument per option
    output: Annotated[Path, typer.Option("--output", "-o", help="YAML file to write.")],
    preset: Preset = None,
    models: Models = None,
    assignments: Assignments = None,
    symbol: Symbol = None,
    seed: Seed = None,
    tune: Tune = None,
    registry: Annotated[
        str | None, typer.Option(help="Registry and path put before every image name.")
    ] = None,
) -> None:
    """Compile the pipeline to YAML for a cluster: pipeline and platform settings in one file."""
    from mlfactory.common.images import REGISTRY
    from mlfactory_pipelines import preflight

    plan = _resolve(_tree(preset or "default", models, assignments, symbol, seed, tune), assignments)
    preflight.check_names(plan)
    preflight.check_output(output)
    if registry:
        preflight.check_registry(registry)
    if registry is not None:
        os.environ[REGISTRY] = registry  # components read it when they are imported
    with _quiet():
        from mlfactory_pipelines.training import compile_to

        compile_to(plan, output)
    jobs = {family: len(of) for family, of in plan.jobs().items()}
    counts = (f"{n} {family} job{'s' if n > 1 else ''}" for family, n in jobs.items())
    typer.echo(f"{output}: {', '.join(counts)}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what kfp has to say about image names and field names while it compiles."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@app.command()
def models(as_json: Json = False) -> None:
    """List the models with their defaults."""
    from mlfactory.models import registry

    rows = [{**{k: v for k, v in asdict(info).items() if k != "path"}} for info in registry.models().values()]
    _print(rows, ("name", "family", "input", "feature_set", "device", "doc"), as_json)


@app.command()
def features(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/features.md.")] = False,
) -> None:
    """List the feature columns: look-back in bars, unit and source of each."""
    from mlfactory_pipelines import feature_page

    if as_json and markdown:
        raise InputError("--json and --markdown are two formats: give one of them")
    if markdown:
        typer.echo(feature_page.page(), nl=False)
        return
    _print(feature_page.rows(), ("name", "group", "lookback", "unit", "source", "about"), as_json)


@app.command()
def stages(as_json: Json = False) -> None:
    """List the stages with their images, inputs, outputs and parameters."""
    from mlfactory_pipelines.plan import resolve

    plan = resolve({"audit": {"enabled": True}})
    with _quiet():
        from mlfactory_pipelines.training import components

        rows = [_stage_row(name, component, plan) for name, component in components(plan).items()]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        typer.echo(f"{row['stage']}: {row['about']}")
        for key in ("image", "inputs", "outputs", "parameters"):
            value = row[key]
            typer.echo(f"    {key:<11} {value if isinstance(value, str) else ', '.join(value)}")


def _stage_row(name: str, component: Any, plan: "Plan") -> dict[str, Any]:
    spec = component.component_spec
    inputs = sorted(key for key in spec.inputs or {} if key != "params")
    return {
        "stage": name,
        "image": spec.implementation.container.image,
        "inputs": inputs,
        "outputs": sorted(spec.outputs),
        "parameters": list(plan.sections.get(name, ())),
        "about": (spec.description or "").partition("\n")[0],
    }


def _print(rows: Any, columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=1, default=str))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for column in columns:
        table.add_column(column, no_wrap=column in ("name", "column", "verdict"))
    for row in rows:
        table.add_row(*(str(row[key]) for key in columns))
    _wide(Console()).print(table)


def _wide(console: "Console") -> "Console":
    """Give tables room where no terminal limits them."""
    from rich.console import Console

    return console if console.is_terminal else Console(width=_WIDE)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends it with one line and exit code 2."""
    try:
        code = app(list(sys.argv[1:] if argv is None else argv), prog_name="mlfactory", standalone_mode=False)
    except InputError as error:
        code = _refuse(str(error))
    except typer.TyperException as error:
        told = getattr(error, "format_message", None)  # typer exports no class that has it
        code = _refuse(" ".join(told().split()) if told else str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except OSError as error:  # what no check can foresee: a full disk, a folder that goes away
        if not error.strerror:
            raise
        place = error.filename2 or error.filename  # of a copy, the target
        _say(f"error: {error.strerror}{f': {place}' if place else ''}")
        code = 1
    sys.exit(code)


def _refuse(message: str) -> int:
    if message:  # a bare `mlfactory` has printed its help
        _say(f"error: {message}")
    return 2
