"""Law 5 on a compiled pipeline: who receives the outcomes of the locked test."""

from collections.abc import Iterator, Mapping
from typing import Any

LOCKED = "test_labels"
READERS = {"report"}


def leaks(ir: Mapping[str, Any], locked: str = LOCKED, readers: set[str] = READERS) -> list[str]:
    """List every way in which the artifact ``locked`` reaches a component other than ``readers``.

    Follows the artifact by where it comes from, not by what the receiving input is called: through loop bodies,
    nested pipelines and collected outputs. An empty list also needs the artifact to exist and to be read, so that a
    renamed artifact cannot pass unseen.

    Args:
        ir: the pipeline document of a compiled file.
        locked: name of the output artifact.
        readers: names of the components that may receive it.

    Returns:
        one line per violation
    """
    made = _producers(ir, locked)
    if not made:
        return [f"no component makes an artifact {locked!r}"]
    found: list[str] = []
    read: set[str] = set()
    for component, task, name in _receivers(ir, made):
        if component in readers:
            read.add(component)
        else:
            found.append(f"{component} receives {locked} as {name} (task {task})")
    found += [f"{reader} does not receive {locked}" for reader in sorted(readers - read)]
    return sorted(found)


def _producers(ir: Mapping[str, Any], locked: str) -> set[tuple[str, str]]:
    """(component, output) of every executor that makes the artifact."""
    return {
        (name, output)
        for name, spec in ir["components"].items()
        if "executorLabel" in spec
        for output in spec.get("outputDefinitions", {}).get("artifacts", {})
        if output == locked
    }


Spot = tuple[str, str]


def _receivers(ir: Mapping[str, Any], made: set[Spot]) -> Iterator[tuple[str, str, str]]:
    """Yield (component, task, input) of every executor that one of the artifacts reaches."""
    dags = {"root": ir["root"], **{n: c for n, c in ir["components"].items() if "dag" in c}}
    carriers = set(made)  # (component, output) that hand it on, and (dag, input) through which it enters
    known = 0
    while known != len(carriers):  # until no dag hands it further
        known = len(carriers)
        for dag, spec in dags.items():
            carriers |= {
                (component, name) for component, _, name in _hits(dag, spec, carriers) if component in dags
            }
            carriers |= _collected(dag, spec, carriers)
    for dag, spec in dags.items():
        for component, task, name in _hits(dag, spec, carriers):
            if component not in dags:
                yield component.removeprefix("comp-"), task, name


def _hits(dag: str, spec: Mapping[str, Any], carriers: set[Spot]) -> Iterator[tuple[str, str, str]]:
    """Yield (component, task, input) of the tasks of a dag that take from a carrier."""
    tasks = spec["dag"]["tasks"]
    for task, one in tasks.items():
        for name, source in one.get("inputs", {}).get("artifacts", {}).items():
            spot = (dag, source.get("componentInputArtifact"))
            if produced := source.get("taskOutputArtifact"):
                spot = (
                    tasks[produced["producerTask"]]["componentRef"]["name"],
                    produced["outputArtifactKey"],
                )
            if spot in carriers:
                yield one["componentRef"]["name"], task, name


def _collected(dag: str, spec: Mapping[str, Any], carriers: set[Spot]) -> set[Spot]:
    """Outputs of a dag that collect a carrier's output."""
    tasks = spec["dag"]["tasks"]
    return {
        (dag, output)
        for output, given in spec["dag"].get("outputs", {}).get("artifacts", {}).items()
        for part in given["artifactSelectors"]
        if (tasks[part["producerSubtask"]]["componentRef"]["name"], part["outputArtifactKey"]) in carriers
    }
