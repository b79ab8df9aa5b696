"""One tiny run of every stage, wired by name, for the laws that hold over stages and artifacts."""

import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlfactory.common.stage import Summary, call

STAGES = ("ingest", "regime", "mtf", "features", "labels", "dataset", "train", "oof", "stacking", "report")
JOBS = {
    "boosting": ("lightgbm", {"rounds": 8}),
    "classical": ("logistic", {}),
    "neural": ("lstm", {"steps": 8, "hidden": 4, "epochs": 2}),
}
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "ingest": {"synthetic": {"bars": 9000}},
    "regime": {"window_bars": 600, "burn_in_bars": 60},
    "mtf": {"steps": [1, 5, 15]},
    "dataset": {"n_folds": 2, "stride": 4},
}


@dataclass
class Chain:
    """Artifacts by name, and the call that made each of them."""

    folder: Path
    artifacts: dict[str, Path] = field(default_factory=dict)
    lists: dict[str, list[Path]] = field(default_factory=dict)
    calls: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=dict)

    def run(self, key: str, stage: str, **given: Any) -> Summary:
        """Call a stage: an argument that is an artifact already is an input, any other path an output."""
        run = importlib.import_module(f"mlfactory.{stage}.stage").run
        hints = typing.get_type_hints(run)
        arguments, made = dict(given), []
        for name in inspect.signature(run).parameters:
            if name in given:
                continue
            if hints[name] is Path and name in self.artifacts:
                arguments[name] = self.artifacts[name]
            elif hints[name] is Path:
                arguments[name] = self.folder / key / name
                made.append(name)
            elif name == "params":
                arguments[name] = dict(PARAMS.get(stage, {}))
        (self.folder / key).mkdir(parents=True, exist_ok=True)
        summary = call(run, arguments)
        self.calls[key], self.outputs[key] = (run, arguments), made
        return summary

    def keep(self, key: str) -> None:
        """Offer a stage's outputs to the stages that follow."""
        self.artifacts.update({name: self.folder / key / name for name in self.outputs[key]})


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain(tmp_path_factory.mktemp("chain"))
    for stage in STAGES:
        if stage == "train":
            _train(chain)
        else:
            given: dict[str, Any] = {"source": "synthetic:", "symbol": "ES"} if stage == "ingest" else {}
            if stage in ("oof", "stacking", "report"):
                kind = "fold_predictions" if stage == "oof" else "test_predictions"
                given |= {family: [chain.folder / f"train-{family}" / kind] for family in JOBS}
            if stage == "report":
                given |= {f"{family}_fits": [chain.folder / f"train-{family}" / "fit"] for family in JOBS}
            chain.run(stage, stage, **given)
            chain.keep(stage)
    return chain


def _train(chain: Chain) -> None:
    from mlfactory.models.registry import FEATURE_SETS

    for family, (model, params) in JOBS.items():
        job = {"model": model, "horizon": 20, "params": params}
        chain.run(f"train-{family}", "train", job=job, matrix=chain.artifacts[FEATURE_SETS[family]])


@contextmanager
def changed(path: Path, text: bytes) -> Iterator[None]:
    """Replace a file for the time of a block."""
    saved = path.read_bytes()
    path.write_bytes(text)
    try:
        yield
    finally:
        path.write_bytes(saved)
