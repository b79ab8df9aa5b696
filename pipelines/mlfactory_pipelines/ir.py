"""Questions to a compiled pipeline: is every reference declared, which image runs where, who reads what."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

IR = Mapping[str, Any]
"""First document of a compiled YAML file, as plain values."""


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a compiled file: the pipeline and its platform settings (empty where it has none)."""
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return documents[0], documents[1] if len(documents) > 1 else {}


def dags(ir: IR) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the root and each loop body with its name."""
    yield "root", ir["root"]
    for name, component in ir["components"].items():
        if "dag" in component:
            yield name, component


def undeclared_inputs(ir: IR) -> list[tuple[str, str, str]]:
    """List ``(dag, task, input)`` of each input that a task takes from a DAG which does not declare it.

    The compiler writes such a file without a word when a pipeline parameter inside a loop is used for a
    resource setting alone; the run then fails on the cluster.
    """
    bad = []
    for name, component in dags(ir):
        declared = component.get("inputDefinitions") or {}
        for task, spec in component["dag"]["tasks"].items():
            for kind, key in (
                ("parameters", "componentInputParameter"),
                ("artifacts", "componentInputArtifact"),
            ):
                have = set(declared.get(kind) or {})
                for value in ((spec.get("inputs") or {}).get(kind) or {}).values():
                    if (wanted := value.get(key)) and wanted not in have:
                        bad.append((name, task, str(wanted)))
    return bad


def images(ir: IR) -> dict[str, str]:
    """Map each executor to its image."""
    executors = ir["deploymentSpec"]["executors"]
    return {
        name.removeprefix("exec-"): spec["container"]["image"] for name, spec in sorted(executors.items())
    }


def jobs(ir: IR) -> dict[str, list[dict[str, Any]]]:
    """Map each loop to the jobs it runs."""
    found = {}
    for _, component in dags(ir):
        for task, spec in component["dag"]["tasks"].items():
            if raw := ((spec.get("parameterIterator") or {}).get("items") or {}).get("raw"):
                found[task] = yaml.safe_load(raw)
    return found


def graph(ir: IR) -> dict[str, Any]:
    """Reduce a pipeline to what a reviewer compares: tasks, images without hash, who reads which artifact."""
    tasks: dict[str, Any] = {}
    loops = {
        task: list(ir["components"][spec["componentRef"]["name"]]["dag"]["tasks"])
        for task, spec in ir["root"]["dag"]["tasks"].items()
        if "dag" in ir["components"][spec["componentRef"]["name"]]
    }
    for name, component in dags(ir):
        for task, spec in component["dag"]["tasks"].items():
            if task in loops:
                continue
            executor = ir["components"][spec["componentRef"]["name"]]["executorLabel"]
            tasks[task] = {
                "image": re.sub(
                    r":[0-9a-f]+$", "", ir["deploymentSpec"]["executors"][executor]["container"]["image"]
                ),
                "reads": sorted(_reads(spec, name, ir)),
            }
    return {"tasks": dict(sorted(tasks.items())), "loops": dict(sorted(loops.items()))}


def _reads(spec: Mapping[str, Any], dag: str, ir: IR) -> Iterator[str]:
    for name, value in ((spec.get("inputs") or {}).get("artifacts") or {}).items():
        if produced := value.get("taskOutputArtifact"):
            yield f"{name} <- {_producer(produced, ir)}"
        elif wanted := value.get("componentInputArtifact"):
            outer = _outer(dag, wanted, ir)
            yield f"{name} <- {_producer(outer, ir)}"


def _outer(dag: str, name: str, ir: IR) -> Mapping[str, Any]:
    """Find what the root hands to a loop body under ``name``."""
    for spec in ir["root"]["dag"]["tasks"].values():
        if spec["componentRef"]["name"] == dag:
            found: Mapping[str, Any] = spec["inputs"]["artifacts"][name]["taskOutputArtifact"]
            return found
    raise KeyError(dag)


def _producer(output: Mapping[str, Any], ir: IR) -> str:
    task, key = output["producerTask"], output["outputArtifactKey"]
    component = ir["components"][ir["root"]["dag"]["tasks"][task]["componentRef"]["name"]]
    if "dag" not in component:
        return f"{task}.{key}"
    selectors = component["dag"]["outputs"]["artifacts"][key]["artifactSelectors"]
    return ", ".join(f"every {s['producerSubtask']}.{s['outputArtifactKey']}" for s in selectors)
