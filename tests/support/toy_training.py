"""A tiny matrix, raw bars and an index with known truth, and the train stage run on them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlfactory.common.artifacts import read_json, write_matrix
from mlfactory.common.index import Index, write_index
from mlfactory.common.multi_resolution import BarWindows
from mlfactory.common.predictions import Predictions, read_predictions
from mlfactory.common.raw_bars import CHANNELS, RawBars, depths, write_raw_bars
from mlfactory.common.splits import REFIT, Split, blocks, fold_codes, k_fold, refit_codes
from mlfactory.common.stage import Summary, call
from mlfactory.models.bundle import Columns, Contract, steps_of
from mlfactory.models.protocol import Model
from mlfactory.models.registry import models
from mlfactory.train.stage import run

ROWS, HORIZON, STRIDE, EMBARGO = 900, 6, 2, 8
FIRST_BAR = 100
TIMEFRAMES = (1, 5)
EXTRA_MODELS = Path(__file__).parent / "extra_models"
"""A folder for ``MLF_MODELS``: a multi-resolution model that needs no network."""
COLUMNS = ("signal", "noise_a", "noise_b", "level")
OUTPUTS = ("fold_predictions", "test_predictions", "model", "fit")


@dataclass(frozen=True)
class Data:
    """A matrix, raw bars, their index and the truth about all rows, the locked test included."""

    values: np.ndarray
    index: Index
    label: np.ndarray
    raw: RawBars

    def source(self, model: Model) -> Any:
        """What a model reads of the data."""
        if model.input == "multi_resolution":
            return BarWindows.of(self.raw, steps_of(model))
        return Columns.of(self.values, COLUMNS)

    def contract(self, name: str, model: Model) -> Contract:
        """What the stage would state of a model of that name."""
        info = models()[name]
        raw = model.input == "multi_resolution"
        return Contract(
            model=name,
            family=info.family,
            horizon=HORIZON,
            feature_set=info.feature_set,
            columns=self.raw.channels if raw else COLUMNS,
            steps=steps_of(model),
            timeframes=TIMEFRAMES if raw else (),
        )


def raw_bars(values: np.ndarray, segment: np.ndarray, rng: np.random.Generator) -> RawBars:
    """Bars of one and five minutes before and at each row; the last bar's return is the row's first column."""
    n = FIRST_BAR + ROWS
    step = np.r_[rng.normal(size=FIRST_BAR), values[:, 0]] * 1e-3
    close = 4000 * np.exp(np.cumsum(step))
    opened = np.r_[close[0], close[:-1]]
    wide = 1 + np.abs(rng.normal(size=(2, n))) * 1e-4
    base = np.column_stack(
        [opened, np.maximum(opened, close) * wide[0], np.minimum(opened, close) / wide[1], close]
    )
    segment = np.r_[np.full(FIRST_BAR, segment[0]), segment]
    tables, first, end, depth = {}, {}, [], []
    for minutes in TIMEFRAMES:
        start = np.arange(0, n, minutes)  # five divides both segments
        part = base.reshape(-1, minutes, 4)
        tables[minutes] = np.column_stack(
            [part[:, 0, 0], part[..., 1].max(1), part[..., 2].min(1), part[:, -1, 3]]
        )
        first[minutes] = start
        last = np.searchsorted(start + minutes - 1, np.arange(FIRST_BAR, n), side="right") - 1
        last = np.where(segment[start[last]] == segment[FIRST_BAR:], last, -1).astype(np.int32)
        end.append(last)
        depth.append(depths(segment[start], last))
    return RawBars(TIMEFRAMES, tables, first, np.stack(end, 1), np.stack(depth, 1), 5, CHANNELS[:4], {})


def make_data(seed: int = 0, *, cut: int = 450) -> Data:
    """Draw rows of two segments whose class follows the first column; the last fifth is the locked test."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(ROWS, len(COLUMNS))).astype(np.float32)
    values[:, 3] += 1000
    score = 2.5 * values[:, :1] * np.array([-1.0, 0.0, 1.0])
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    label = (rng.random(ROWS)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(max=2).astype(np.int8)
    bar = np.arange(ROWS) + FIRST_BAR
    end = bar + rng.integers(1, HORIZON + 1, ROWS)
    test = ROWS * 4 // 5
    events = np.arange(0, ROWS, STRIDE)
    development = events[events < test]
    finished, refit = refit_codes(
        bar[development], end[development], bar[test], embargo=EMBARGO, inner_fraction=0.2
    )
    known = development[finished]
    code = np.zeros((ROWS, 3), np.uint8)
    code[known, :2] = fold_codes(
        bar[known], end[known], blocks(len(known), 2), k_fold(2), embargo=EMBARGO, inner_fraction=0.2
    )
    code[development, REFIT] = refit
    code[events[events >= test], REFIT] = 3
    segment = (np.arange(ROWS) >= cut).astype(np.int64)
    shown = np.isin(np.arange(ROWS), known)
    index = Index(
        bar=bar,
        minute=bar + 28_000_000,
        segment=segment,
        session=np.full(ROWS, 20_000),
        log_return=np.where(np.arange(ROWS) < test, values[:, 0] * 1e-3, np.nan),
        event=np.isin(np.arange(ROWS), events),
        horizons=(HORIZON,),
        n_folds=2,
        label={HORIZON: np.where(shown, label, -1).astype(np.int8)},
        end={HORIZON: np.where(shown, end, -1)},
        open_until={HORIZON: np.where(np.arange(ROWS) < test, np.minimum(end, bar[test] - 1), -1)},
        exit={HORIZON: np.where(shown, end, -1)[:, None].repeat(2, axis=1)},
        long_net={HORIZON: np.where(shown, label - 1.0, np.nan)},
        short_net={HORIZON: np.where(shown, 1.0 - label, np.nan)},
        code={HORIZON: code},
        facts={"embargo_bars": EMBARGO},
    )
    return Data(values, index, label, raw_bars(values, segment, rng))


def cut(data: Data, n_blocks: int, splits: list[Split]) -> Data:
    """Part the development rows in another way; the refit stays."""
    index = data.index
    known = np.flatnonzero(index.label[HORIZON] >= 0)
    code = np.zeros((len(index), len(splits) + 1), np.uint8)
    code[:, REFIT] = index.code[HORIZON][:, REFIT]
    code[known, :-1] = fold_codes(
        *index.spans(HORIZON, known),
        blocks(len(known), n_blocks),
        splits,
        embargo=EMBARGO,
        inner_fraction=0.2,
    )
    return replace(data, index=replace(index, n_folds=len(splits), code={HORIZON: code}))


@dataclass(frozen=True)
class Trained:
    """The outputs of one run of the stage."""

    folder: Path
    summary: Summary

    @property
    def fit(self) -> Any:
        return read_json(self.folder / "fit")

    def predictions(self, kind: str) -> Predictions:
        return read_predictions(self.folder / kind, kind)


Train = Callable[..., Trained]


@pytest.fixture(scope="session")
def data() -> Data:
    return make_data()


@pytest.fixture(scope="session")
def inputs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the artifacts ``index``, ``boosting_optimal``, ``neural_optimal`` and ``transformer_raw``."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, data)
    return folder


def write_inputs(folder: Path, data: Data, sets: Mapping[str, list[str]] | None = None) -> None:
    """Write every artifact that training reads; ``sets`` are further feature sets of the matrices."""
    about = {"schema_version": 1, "inputs": {}}
    write_index(folder / "index", data.index, {**data.index.facts, **about, "artifact": "index"})
    columns = {name: data.values[:, j] for j, name in enumerate(COLUMNS)}
    for name in ("boosting_optimal", "neural_optimal"):
        held = {name: list(COLUMNS), **(sets or {})}
        write_matrix(folder / name, columns, {**about, "artifact": name, "sets": held})
    write_raw_bars(folder / "transformer_raw", data.raw, {**about, "artifact": "transformer_raw"})


@pytest.fixture(scope="session")
def train(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Run the stage as a KFP step does; small settings unless others are given."""

    def start(
        model: str,
        /,
        params: Mapping[str, Any] | None = None,
        reading: Mapping[str, Any] | None = None,
        tune: int = 0,
        **changes: Any,
    ) -> Trained:
        from toy_models import toy

        folder = tmp_path_factory.mktemp(model)
        known = model in models()
        job = {
            "model": model,
            "horizon": HORIZON,
            "params": {**(toy(model) if known else {}), **(params or {})},
            "reading": dict(reading or {}),
            "tune": tune,
        }
        matrix = models()[model].feature_set if known else "boosting_optimal"
        given = {
            "job": job,
            "matrix": inputs / matrix,
            "index": inputs / "index",
            "seed": 1,
            "accelerator": "0",
        }
        return Trained(folder, call(run, {**given, **{name: folder / name for name in OUTPUTS}, **changes}))

    return start


@pytest.fixture
def extra_transformer(monkeypatch: pytest.MonkeyPatch) -> str:
    """Add a multi-resolution model that needs no network to the registry."""
    monkeypatch.setenv("MLF_MODELS", os.fspath(EXTRA_MODELS))
    return "linear_windows"


@pytest.fixture
def extra_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Add a classical model of a given ``fit`` body to the registry, from a folder outside the package."""

    def add(name: str, body: str) -> None:
        folder = tmp_path / "extra" / "classical"
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(_MODEL_FILE.format(body=body))
        monkeypatch.setenv("MLF_MODELS", os.fspath(folder.parent))

    return add


_MODEL_FILE = '''
"""A model for tests."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from mlfactory.models.protocol import Model


@dataclass
class Extra(Model):
    """Predicts the class frequencies."""

    source: ClassVar[str] = "nobody (2000)"
    smoothing: float = 1.0

    def fit(self, X, y, weight, validation=None):
        {body}
        self.features_ = X.shape[1]
        counts = np.bincount(y, weights=weight, minlength=3) + self.smoothing
        self.frequencies = counts / counts.sum()
        return self

    def predict_proba(self, X):
        return np.tile(self.frequencies, (len(X), 1))

    def write(self, folder):
        np.save(folder / "frequencies.npy", self.frequencies)

    def read(self, folder):
        self.frequencies = np.load(folder / "frequencies.npy", allow_pickle=False)


MODEL = Extra
'''
