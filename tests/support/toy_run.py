"""A run's artifacts up to training, with known truth: index, locked labels, and models of chosen skill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlfactory.common.artifacts import provenance, sha256, write_json, write_table
from mlfactory.common.bars import timestamps
from mlfactory.common.index import Index, write_index
from mlfactory.common.predictions import Predictions, failed, write_predictions
from mlfactory.common.splits import (
    HELD_OUT,
    INNER,
    REFIT,
    TRAIN,
    Split,
    blocks,
    combinatorial,
    fold_codes,
    k_fold,
    walk_forward,
)

FAMILY = {
    "xgboost": "boosting",
    "lightgbm": "boosting",
    "catboost": "boosting",
    "logistic": "classical",
    "random_forest": "classical",
    "lstm": "neural",
}
SELECTED: Mapping[str, Any] = {
    "selection": {"method": "permutation", "columns": 2, "folds": 3, "compare": True},
    "folds": [
        {"fold": 0, "columns": ["hvol_20", "<rsi>"]},
        {"fold": 1, "columns": ["hvol_20", "log_return_5"]},
        {"fold": 2, "columns": ["hvol_20", "<rsi>"]},
        {"fold": -1, "columns": ["hvol_20", "log_return_5"]},
    ],
    "stability": 0.66,
    "comparison": {
        "rows": 1000,
        "log_loss": 1.0412,
        "log_loss_without": 1.0437,
        "gain": 0.0025,
        "gain_low": 0.0011,
        "gain_high": 0.0039,
        "gain_low_999": -0.0002,
        "gain_high_999": 0.0052,
    },
}
"""What the fit of a model with selected columns states besides."""
SESSION_MINUTES = 1380
INSTRUMENT = {
    "symbol": "TOY",
    "description": "a contract for tests",
    "tick_size": 0.25,
    "tick_value": 1.25,
    "currency": "USD",
    "commission_ticks": 0.5,
    "slippage_ticks": 0.25,
    "half_spread_ticks": 0.25,
    "calendar": "CME_Equity",
}


@dataclass
class ToyRun:
    """Writes its artifacts into ``root`` once each, when first asked for."""

    root: Path
    models: Mapping[str, float] = field(
        default_factory=lambda: {"xgboost": 0.8, "lightgbm": 0.6, "lstm": 0.5}
    )
    """per model: 0 knows nothing, 1 knows the class probabilities"""
    broken: Sequence[str] = ()
    """models whose fit failed"""
    rows: int = 2400
    stride: int = 2
    folds: int = 3
    horizons: tuple[int, ...] = (20,)
    strength: float = 0.8
    seed: int = 0
    scheme: str = "kfold"

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @cached_property
    def truth(self) -> dict[int, dict[str, np.ndarray]]:
        """Per horizon, over all rows: true class probabilities, labels, ends and net returns."""
        out = {}
        for h in self.horizons:
            rng = np.random.default_rng((self.seed, h))
            signal = np.convolve(rng.normal(size=self.rows + 29), np.ones(30) / np.sqrt(30), "valid")
            score = self.strength * np.stack([-signal, np.full(self.rows, 0.2), signal], axis=1)
            p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
            label = (rng.random(self.rows)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(max=2)
            size = 4e-4 * np.exp(0.3 * rng.normal(size=self.rows))
            drift = (label - 1) * size + 5e-5 * rng.normal(size=self.rows) * (label == 1)
            out[h] = {
                "p": p,
                "label": label.astype(np.int8),
                "long_end": np.arange(self.rows) + rng.integers(2, h, self.rows),
                "short_end": np.arange(self.rows) + rng.integers(2, h, self.rows),
                "long_net": drift - 6e-5,
                "short_net": -drift - 6e-5,
            }
        return out

    def ends(self, h: int) -> np.ndarray:
        return np.maximum(self.truth[h]["long_end"], self.truth[h]["short_end"])

    @property
    def minute(self) -> np.ndarray:
        day, within = np.divmod(np.arange(self.rows), SESSION_MINUTES)
        return (19_723 + day // 5 * 7 + day % 5) * 1440 + within

    @property
    def session(self) -> np.ndarray:
        return self.minute // 1440

    @cached_property
    def content(self) -> Index:
        test_start = int(self.rows * 0.75)
        event = np.arange(self.rows) % self.stride == 0
        label, end, exits, long_net, short_net, code = {}, {}, {}, {}, {}, {}
        for h in self.horizons:
            truth, ends = self.truth[h], self.ends(h)
            development = np.flatnonzero(event & (ends < test_start))
            test = np.flatnonzero(event & (np.arange(self.rows) >= test_start) & (ends < self.rows))
            known = np.zeros(self.rows, bool)
            known[development] = True
            codes = np.zeros((self.rows, self.folds + 1), np.uint8)
            codes[development, :-1] = fold_codes(
                development,
                ends[development],
                *self.parts(len(development)),
                embargo=5,
                inner_fraction=0.15,
            )
            inner = development[int(len(development) * 0.85) :]
            codes[development[ends[development] < inner[0]], -1] = TRAIN
            codes[inner, -1] = INNER
            codes[test, -1] = HELD_OUT
            label[h] = np.where(known, truth["label"], -1).astype(np.int8)
            end[h] = np.where(known, ends, -1)
            exits[h] = np.where(known[:, None], np.column_stack([truth["long_end"], truth["short_end"]]), -1)
            long_net[h] = np.where(known, truth["long_net"], np.nan)
            short_net[h] = np.where(known, truth["short_net"], np.nan)
            code[h] = codes
        return Index(
            bar=np.arange(self.rows),
            minute=self.minute,
            segment=np.zeros(self.rows, np.int64),
            session=self.session,
            log_return=np.where(np.arange(self.rows) < test_start, 1e-4, np.nan),
            event=event,
            horizons=self.horizons,
            n_folds=self.folds,
            label=label,
            end=end,
            open_until=end,
            exit=exits,
            long_net=long_net,
            short_net=short_net,
            code=code,
        )

    def parts(self, events: int) -> tuple[np.ndarray, list[Split]]:
        """Block of each development event, and the splits; combinatorial ones are six, two out of four blocks each."""
        if self.scheme == "combinatorial":
            return blocks(events, 4), combinatorial(4, 2)
        if self.scheme == "kfold":
            return blocks(events, self.folds), k_fold(self.folds)
        return blocks(events, self.folds + 1), walk_forward(self.folds)

    @cached_property
    def index(self) -> Path:
        path = self.root / "index"
        facts = provenance(
            "index",
            "dataset",
            {},
            {},
            instrument=INSTRUMENT,
            bar_minutes=1,
            embargo_bars=5,
            scheme=self.scheme,
        )
        write_index(path, self.content, facts)
        return path

    @cached_property
    def test_labels(self) -> Path:
        return self.write_test_labels(self.root / "test_labels.parquet")

    def write_test_labels(self, path: Path, label: np.ndarray | None = None) -> Path:
        """Write the locked outcomes; ``label`` (over all rows) replaces the true ones."""
        frames = []
        for h in self.horizons:
            rows = self.content.rows(h, REFIT, HELD_OUT)
            truth, end = self.truth[h], self.ends(h)[rows]
            frames.append(
                pd.DataFrame(
                    {
                        "row": rows,
                        "timestamp": timestamps(self.minute[rows]),
                        "session": self.session[rows],
                        "horizon": np.full(len(rows), h, np.int16),
                        "label": (truth["label"] if label is None else label)[rows].astype(np.int8),
                        "bar": rows,
                        "end": end,
                        "end_timestamp": timestamps(self.minute[end]),
                        **{
                            name: truth[name][rows]
                            for name in ("long_net", "short_net", "long_end", "short_end")
                        },
                    }
                )
            )
        write_table(path, pd.concat(frames, ignore_index=True), provenance("test_labels", "dataset", {}, {}))
        return path

    @cached_property
    def data_report(self) -> Path:
        path = self.root / "data_report.json"
        facts = {
            "instrument": INSTRUMENT,
            "bar_minutes": 1,
            "rows_in": self.rows,
            "bars": self.rows,
            "sessions": len(np.unique(self.session)),
            "segments": 1,
            "first": str(timestamps(self.minute[:1])[0]),
            "last": str(timestamps(self.minute[-1:])[0]),
            "rejected": {},
            "advice": [],
        }
        write_json(path, provenance("data_report", "ingest", {}, {}, **facts))
        return path

    @cached_property
    def regime_report(self) -> Path:
        path = self.root / "regime_report.json"
        hidden = {
            "states": ["0", "1", "2"],
            "rows": 800,
            "included": [0.5, 0.3, 0.2],
            "excluded": [0.45, 0.3, 0.25],
            "differs": 0.0625,
            "mean_stay_bars": [12.0, 8.0, 20.0],
        }
        write_json(path, provenance("regime_report", "regime", {}, {}, columns={"hmm_state": hidden}))
        return path

    def predict(self, model: str, h: int) -> np.ndarray:
        """What a model of the stated skill says of every row: shape (rows, 3)."""
        skill = self.models[model]
        rng = np.random.default_rng((self.seed, h, sum(model.encode())))
        noise = 0.15 * rng.normal(size=(self.rows, 3))
        base = np.bincount(self.truth[h]["label"], minlength=3) / self.rows
        score = skill * np.log(self.truth[h]["p"]) + (1 - skill) * (np.log(base) + noise)
        p = np.exp(score - score.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def job(self, model: str, h: int, kind: str) -> Predictions:
        if model in self.broken:
            return failed(model, FAMILY[model], h)
        folds = range(self.folds) if kind == "fold_predictions" else [REFIT]
        parts = [self.content.rows(h, k, HELD_OUT) for k in folds]
        row = np.concatenate(parts)
        if model == "lstm":
            parts = [part[part > row[4]] for part in parts]  # the first rows have no full window
            row = np.concatenate(parts)
        fold = np.repeat(list(folds), [len(p) for p in parts])
        return Predictions(row, self.minute[row], fold, self.predict(model, h)[row], model, FAMILY[model], h)

    def write_job(self, predictions: Predictions, kind: str, folder: str = "jobs") -> Path:
        path = self.root / folder / f"{predictions.model}_h{predictions.horizon}.{kind}.parquet"
        write_predictions(path, predictions, provenance(kind, "train", {"index": self.index}, {}))
        return path

    def lists(self, kind: str) -> dict[str, list[Path]]:
        """Paths per family, as ``run`` takes them; ````kind`` may be ``fit``."""
        out: dict[str, list[Path]] = {}
        for model in self.models:
            for h in self.horizons:
                made = self.fit(model, h) if kind == "fit" else self.write_job(self.job(model, h, kind), kind)
                key = FAMILY[model] + ("_fits" if kind == "fit" else "")
                out.setdefault(key, []).append(made)
        return out

    def fit(self, model: str, h: int) -> Path:
        bad = model in self.broken
        path = self.root / "jobs" / f"{model}_h{h}.fit.json"
        about: dict[str, Any] = {
            "model": model,
            "family": FAMILY[model],
            "horizon": h,
            "status": "failed" if bad else "ok",
            "error": {"type": "MemoryError", "message": "the fit needs 9.1 GiB; 4 GiB are allowed"}
            if bad
            else None,
            "folds": [],
            "feature_set": "neural_optimal" if FAMILY[model] == "neural" else "boosting_optimal",
            "available_columns": 150 if FAMILY[model] == "neural" else 200,
            "trials": 31 if model == "lightgbm" else 1,
            "read_bytes": {"matrix": 3 * 2**20, "index": 2**19},
        }
        if model == "lightgbm" and not bad:
            about |= SELECTED
        if FAMILY[model] == "boosting" and not bad:
            names = ["hvol_20", "parkinson_20", "log_return_5", "ladder_60_rsi_14", "minutes_since_open"]
            share = np.array([0.31, 0.22, 0.12, 0.08, 0.05])
            about["feature_importance"] = dict(zip(names, share, strict=True))
        write_json(path, provenance("fit", "train", {}, {}, **about))
        return path

    def sha(self) -> str:
        return sha256(self.index)
