"""What a run leaves beside its artifacts: report, models, times, and a hash of every artifact."""

import html
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlfactory.common.artifacts import new_file, new_folder, read_json, sha256, write_json
from mlfactory.common.predictions import FAILED
from mlfactory_pipelines.audits import findings
from mlfactory_pipelines.run import Task

RESOURCES = "<!-- resources -->"
"""Where the report stage leaves room for times and memory, which its own artifact must not hold."""
REPORT_HTML, REPORT_JSON = "report.html", "report.json"
AUDIT_HTML = "audit.html"
LEDGER = "ledger.jsonl"

Tasks = Mapping[str, Task]


def collect(tasks: Tasks, out: Path, root: Path, seconds: float) -> None:
    """Write everything that a run leaves in ``out``; ``seconds`` is its time from start to end."""
    write_json(out / "timings.json", timings(tasks, seconds))
    write_json(out / "artifacts.json", hashes(tasks))
    report = tasks["report"].outputs["report"]
    page = (report / REPORT_HTML).read_text(encoding="utf-8")
    with new_file(out / REPORT_HTML) as file:
        file.write_text(page.replace(RESOURCES, resources_table(tasks, seconds)), encoding="utf-8")
    with new_file(out / REPORT_JSON) as file:
        shutil.copyfile(report / REPORT_JSON, file)
    with new_folder(out / "models") as models:
        for name, folder in model_folders(tasks):
            _link_tree(folder, models / name)
    _link(root / LEDGER, out / LEDGER)
    if "audit" in tasks:
        _link(tasks["audit"].outputs["html"], out / AUDIT_HTML)


def timings(tasks: Tasks, seconds: float) -> dict[str, Any]:
    """Seconds and memory of each task, as the stage measured them, and the time that the runner added."""
    rows = {
        name: {
            **task.timings,
            "cached": task.cached,
            "overhead_s": 0.0 if task.cached else round(task.wall_s - task.timings["seconds"], 3),
        }
        for name, task in tasks.items()
    }
    peak = max((task.timings["peak_mib"] for task in tasks.values()), default=0.0)
    return {"tasks": rows, "total": {"seconds": round(seconds, 3), "peak_mib_of_one_task": peak}}


def hashes(tasks: Tasks) -> dict[str, str]:
    """Hash every artifact by ``task/output``; ``timings`` alone differ between equal runs."""
    return {
        f"{name}/{output}": sha256(path)
        for name, task in sorted(tasks.items())
        for output, path in sorted(task.outputs.items())
        if output != "timings"
    }


def failed_models(tasks: Tasks) -> dict[str, str]:
    """Jobs whose fit ended in an error, with its message."""
    fits = {name: read_json(task.outputs["fit"]) for name, task in tasks.items() if "fit" in task.outputs}
    return {
        name.rpartition("/")[2]: f"{fit['error']['type']}: {fit['error']['message']}"
        for name, fit in sorted(fits.items())
        if fit["status"] == FAILED
    }


def failed_columns(tasks: Tasks) -> list[str]:
    """Say which columns the audit of a run found wrong; nothing where there was none."""
    if "audit" not in tasks:
        return []
    document = read_json(tasks["audit"].outputs["audit"])
    return findings(document) if document["failed"] else []


def model_folders(tasks: Tasks) -> Iterable[tuple[str, Path]]:
    """Yield each trained model's name and folder, and the ensemble's."""
    for name, task in sorted(tasks.items()):
        if "fit" in task.outputs and task.outputs["model"].is_dir():
            yield name.rpartition("/")[2], task.outputs["model"]
        if "ensemble" in task.outputs:
            yield "ensemble", task.outputs["ensemble"]


def resources_table(tasks: Tasks, seconds: float) -> str:
    """Tabulate seconds and peak memory per stage in HTML; start-up is interpreter, imports and the runner."""
    rows = [
        (
            name,
            "cached" if task.cached else f"{task.timings['seconds']:.1f}",
            "" if task.cached else f"{task.wall_s - task.timings['seconds']:.1f}",
            f"{task.timings['peak_mib']:,.0f}",
        )
        for name, task in tasks.items()
    ]
    rows.append(("whole run", f"{seconds:.1f}", "", ""))
    head = _row("th", ("stage", "seconds", "start-up seconds", "peak MiB"))
    body = "".join(_row("td", row) for row in rows)
    return f"<table class='resources'><thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    first, *numbers = (html.escape(cell) for cell in cells)
    return (
        f"<tr><{tag}>{first}</{tag}>"
        + "".join(f"<{tag} class='number'>{n}</{tag}>" for n in numbers)
        + "</tr>"
    )


def sweep(root: Path) -> None:
    """Delete the folders of tasks that did not end: they are repeated from their start."""
    for folder in (*root.glob("ml-factory-*/*"), *root.glob("ml-factory-*/for-loop-*/*")):
        ended = (folder / "executor_output.json").is_file()
        if not ended and not folder.name.startswith("for-loop-"):
            shutil.rmtree(folder, ignore_errors=True)


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str | Path, target: str | Path) -> None:
    """Hard-link a file, or copy it where the file system cannot."""
    if not Path(source).is_file():
        return
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
