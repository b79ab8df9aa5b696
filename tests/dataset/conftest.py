"""A dataset's inputs: real labels and ladder of toy bars, and a small table of columns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.conftest import make_bars

from mlfactory.common.artifacts import provenance, write_table
from mlfactory.common.bars import Bars, timestamps, write_bars
from mlfactory.common.stage import Summary, call
from mlfactory.dataset.stage import run
from mlfactory.labels.stage import run as label
from mlfactory.mtf.stage import run as build_ladder

LOOKBACK = 30
CATALOGUE = [
    {"name": "return_1", "group": "returns", "lookback": 2, "level": False},
    {"name": "ema_20", "group": "trend", "lookback": 20, "level": True},
    {"name": "slow_30", "group": "trend", "lookback": LOOKBACK, "level": False},
    {"name": "mtf_5_return", "group": "mtf", "lookback": 10, "level": False},
]
OUTPUTS = ("boosting_optimal", "neural_optimal", "transformer_raw", "index", "test_labels")


def table(bars: Bars) -> pd.DataFrame:
    """Columns that name their bar: value = bar position plus a hundredth per column; NaN in the warm-up."""
    row = bars.row_in_segment
    columns = {
        column["name"]: np.where(row >= column["lookback"] - 1, np.arange(len(bars)) + k / 4, np.nan)
        for k, column in enumerate(CATALOGUE)
    }
    frame = pd.DataFrame(columns, dtype=np.float32)
    frame.insert(0, "timestamp", timestamps(bars.minute))
    return frame


@dataclass
class Case:
    """Inputs in ``folder``; ``make`` runs the stage and returns the folder of its outputs."""

    folder: Path
    bars: Bars
    horizons: tuple[int, ...] = (5, 20)
    label_params: dict[str, Any] = field(default_factory=dict)
    summary: Summary | None = None

    def __post_init__(self) -> None:
        write_bars(self.folder / "bars", self.bars, provenance("bars", "ingest", {}, {}))
        self.write_features(table(self.bars))
        call(
            build_ladder,
            {"bars": self.folder / "bars", "mtf": self.folder / "mtf", "params": {"steps": [1, 5, 15]}},
        )
        self.write_labels(self.folder / "bars", self.folder / "labels")

    def write_labels(self, bars: Path, path: Path) -> None:
        params = {"horizons": list(self.horizons), **self.label_params}
        call(label, {"bars": bars, "labels": path, "params": params})

    def write_features(self, frame: pd.DataFrame, catalogue: Any = CATALOGUE) -> None:
        facts = provenance("features", "features", {}, {}, catalogue=catalogue)
        write_table(self.folder / "features", frame, facts)

    def make(self, name: str = "out", *, labels: Path | None = None, **params: Any) -> Path:
        out = self.folder / name
        given = {part: self.folder / part for part in ("features", "labels", "mtf")}
        if labels is not None:
            given["labels"] = labels
        outputs = {part: out / part for part in OUTPUTS}
        self.summary = call(run, {**given, **outputs, "params": {"stride": 2, "n_folds": 3, **params}})
        return out


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path, make_bars(3000))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    """One case and the folder of its outputs, for tests that only read them."""
    case = Case(tmp_path_factory.mktemp("dataset"), make_bars(3000))
    return case, case.make()
