"""From columns and labels to what training reads: a matrix per feature set, the index, and the locked test's labels.

Every artifact states its schema version, which readers check together with its shapes. Row i is the same in all.

- ``boosting_optimal``, ``neural_optimal``: ``matrix.npy``, float32 (rows, columns), row-major, to be memory-mapped;
  the provenance names its ``columns`` and the ``sets`` of columns that it holds, its own first.
- ``transformer_raw``: per timeframe ``bars_<minutes>.npy``, float64 (bars, channels), and ``first_<minutes>.npy``,
  position of the first bar in each; ``end.npy`` and ``depth.npy``, int32 (rows, timeframes): the last closed bar of
  each row, and how many its segment has by then.
- ``index``: ``rows.parquet``, per row its bar, timestamp, segment, session, return and whether it is an event, and per
  horizon its label, ends, net returns and its part in every fold; blank where the locked test could speak.
- ``test_labels``: a table, per locked event and horizon its label, ends and net returns.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlfactory.common.artifacts import (
    provenance,
    read_provenance,
    read_table,
    write_matrix,
    write_table,
)
from mlfactory.common.bars import Ints, minutes, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.index import Index, write_index
from mlfactory.common.ladder import read_ladder
from mlfactory.common.raw_bars import CHANNELS, KIND, RawBars, depths, write_raw_bars
from mlfactory.common.stage import Summary, main
from mlfactory.dataset.feature_sets import (
    BOOSTING,
    NEURAL,
    feature_sets,
    longest_lookback,
    matrix_columns,
    timeframes,
)
from mlfactory.dataset.params import Params
from mlfactory.dataset.parts import Labels, Rows, build_index, choose_rows, embargo_of

_BATCH = 64  # columns in memory twice while they are read


def run(  # noqa: PLR0913  (one argument per artifact)
    features: Path,
    labels: Path,
    mtf: Path,
    boosting_optimal: Path,
    neural_optimal: Path,
    transformer_raw: Path,
    index: Path,
    test_labels: Path,
    params: Params = Params(),  # noqa: B008  (frozen)
) -> Summary:
    """Part the rows and write what each family trains on.

    Args:
        features: the ``features`` table.
        labels: the ``labels`` table.
        mtf: the ``mtf`` folder.
        boosting_optimal: matrix to write; all columns that are not levels.
        neural_optimal: matrix to write; the same without higher timeframes.
        transformer_raw: folder to write; raw bars of every timeframe and where each row's windows end.
        index: folder to write; rows, development labels and folds.
        test_labels: table to write; labels of the locked test, for the report alone.
        params: rows, folds and feature sets.

    Raises:
        InputError: the inputs do not belong together, a column is not finite, or a fold is too small.
    """
    catalogue = _catalogue(features)
    held = matrix_columns(
        feature_sets(catalogue, params.feature_sets),
        {str(k): v for k, v in params.extra_sets.items()},
        catalogue,
    )
    sets = {name: matrix.columns for name, matrix in held.items()}
    lookback = longest_lookback(catalogue, sets)
    frame, facts = read_table(labels, "labels")
    minute = minutes(frame["timestamp"])
    if (wrong := np.flatnonzero(np.diff(minute) <= 0) + 1).size:
        stamps = timestamps(minute[wrong[0] - 1 : wrong[0] + 1])
        raise InputError(
            f"row {wrong[0]} of the labels is stamped {stamps[1]:%Y-%m-%d %H:%M} and the row before it "
            f"{stamps[0]:%Y-%m-%d %H:%M}: every row must be later than the one before ({wrong.size} of {len(minute)} "
            "are not)"
        )
    rows = choose_rows(
        minute,
        frame["segment"].to_numpy(dtype=np.int64, copy=True),
        frame["session"].to_numpy(dtype=np.int64, copy=True),
        frame["log_return"].to_numpy(dtype=np.float64, copy=True),
        lookback=lookback,
        bar_minutes=int(facts["bar_minutes"]),
        params=params,
    )
    longest = max(int(barrier["max_bars"]) for barrier in facts["barriers"].values())
    found = {int(h): _labels(frame, int(h), rows) for h in facts["horizons"]}
    embargo = embargo_of(params, rows, found, longest)
    built = build_index(rows, found, embargo, params)
    columns = _columns(features, sets, minute, rows)
    raw = _raw(mtf, rows, minute, params)

    chosen = params.model_dump(mode="json")
    inputs = {"features": features, "mtf": mtf}
    label_free = provenance("", "dataset", inputs, chosen, lookback=lookback)
    for path, name in ((boosting_optimal, BOOSTING), (neural_optimal, NEURAL)):
        about_matrix = {**label_free, "artifact": name, "sets": held[name].sets}
        write_matrix(path, {c: columns[c] for c in sets[name]}, about_matrix)
    write_raw_bars(transformer_raw, raw, {**label_free, "artifact": KIND})
    about = {
        **{name: facts[name] for name in ("instrument", "bar_minutes", "barriers", "cost")},
        f"embargo_{embargo.unit}": embargo.length,
        "longest_label": longest,
        "scheme": params.scheme,
        "stride": params.stride,
        "test_row": rows.test_row,
        "development_labels": _digest(built),
    }
    write_index(index, built, {**label_free, "artifact": "index", **about})
    locked = provenance("test_labels", "dataset", {**inputs, "labels": labels}, chosen)
    write_table(test_labels, _test_labels(rows, found, minute), locked)
    return _summary(rows, sets, built, frame["segment"], lookback)


def _catalogue(features: Path) -> list[dict[str, Any]]:
    catalogue = read_provenance(features).get("catalogue") if features.exists() else None
    if not catalogue:
        raise InputError(f"{features} is not the table 'features': it has no catalogue of columns")
    return list(catalogue)


def _columns(features: Path, sets: Mapping[str, Sequence[str]], minute: Any, rows: Rows) -> dict[str, Any]:
    """Read the columns of all sets at the rows kept.

    Raises:
        InputError: features and labels have other rows, or a column is not finite in a row kept.
    """
    names = list(dict.fromkeys(name for columns in sets.values() for name in columns))
    times, _ = read_table(features, "features", ["timestamp"])
    if not np.array_equal(minutes(times["timestamp"]), minute):
        raise InputError(
            f"features ({len(times)} rows) and labels ({len(minute)} rows) were not made of the same bars"
        )
    columns: dict[str, Any] = {}
    for start in range(0, len(names), _BATCH):
        frame, _ = read_table(features, "features", names[start : start + _BATCH])
        for name in frame:
            columns[str(name)] = frame[name].to_numpy(dtype=np.float32, copy=False)[rows.bar]
    for name, values in columns.items():
        if not (finite := np.isfinite(values)).all():
            at = int(np.argmin(finite))
            raise InputError(
                f"column {name} is not finite in {int((~finite).sum())} of {len(values)} rows after the warm-up, "
                f"first at {timestamps(rows.minute[at : at + 1])[0]:%Y-%m-%d %H:%M}"
            )
    return columns


def _labels(frame: pd.DataFrame, horizon: int, rows: Rows) -> Labels:
    def at_rows(name: str, kind: type) -> Any:
        return frame[f"{name}_h{horizon}"].to_numpy(dtype=kind, copy=True)[rows.bar]

    return Labels(
        label=at_rows("label", np.int8) + np.int8(1),
        valid=at_rows("valid", np.bool_),
        end=at_rows("end", np.int64),
        open_until=at_rows("open_until", np.int64),
        exit=np.column_stack([at_rows(f"{side}_end", np.int64) for side in ("long", "short")]),
        long_net=at_rows("long_net", np.float64),
        short_net=at_rows("short_net", np.float64),
    )


def _raw(mtf: Path, rows: Rows, minute: Ints, params: Params) -> RawBars:
    ladder = read_ladder(mtf)
    if len(ladder.alignment) != len(minute):
        raise InputError(
            f"mtf ({len(ladder.alignment)} rows) and labels ({len(minute)} rows) were not made of the same bars"
        )
    chosen = timeframes(params.timeframes, ladder.steps, ladder.bar_minutes)
    channels = CHANNELS[: len(params.channels)]
    end = np.ascontiguousarray(ladder.alignment[rows.bar][:, [ladder.steps.index(step) for step in chosen]])
    tables, first, depth = {}, {}, np.empty_like(end)
    for k, step in enumerate(chosen):
        table = ladder.tables[step]
        tables[step] = np.column_stack([getattr(table, name) for name in channels])
        first[step] = np.searchsorted(minute, table.start)
        depth[:, k] = depths(table.segment, end[:, k])
    return RawBars(chosen, tables, first, end, depth, params.steps, channels, {})


def _digest(index: Index) -> str:
    """Hash the labels that training may know.

    It stands in the index in place of the hash of the whole table, which depends on the locked test.
    """
    digest = hashlib.sha256(np.ascontiguousarray(index.log_return).tobytes())
    for h in index.horizons:
        for values in (
            index.label,
            index.end,
            index.open_until,
            index.exit,
            index.long_net,
            index.short_net,
        ):
            digest.update(np.ascontiguousarray(values[h]).tobytes())
    return digest.hexdigest()


def _test_labels(rows: Rows, labels: Mapping[int, Labels], minute: Any) -> pd.DataFrame:
    """Stack the known labels of the locked test over horizons."""
    parts = []
    for h, found in labels.items():
        row = rows.test[found.valid[rows.test]]
        bar = rows.bar[row]
        part = {
            "row": row,
            "timestamp": timestamps(minute[bar]),
            "session": rows.session[row],
            "horizon": np.full(len(row), h, np.int16),
            "label": found.label[row],
            "bar": bar,
            "end": found.end[row],
            "end_timestamp": timestamps(minute[found.end[row]]),
            "long_net": found.long_net[row],
            "short_net": found.short_net[row],
            "long_end": found.exit[row, 0],
            "short_end": found.exit[row, 1],
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _summary(
    rows: Rows, sets: Mapping[str, Sequence[str]], index: Index, segment: "pd.Series[int]", lookback: int
) -> Summary:
    sizes = ", ".join(f"{name} {len(columns)} columns" for name, columns in sets.items())
    line = (
        f"{len(rows.bar):,} of {len(segment):,} bars after the warm-up; {len(rows.development):,} development and "
        f"{len(rows.test):,} locked rows; {index.n_folds} folds; {sizes}"
    )
    segments = segment.nunique()
    if lost := segments - len(np.unique(rows.segment)):
        line += (
            f"; {lost} of {segments} segments leave no row: shorter than the look-back of {lookback:,} bars"
        )
    counts = {
        "rows": len(rows.bar),
        "development": len(rows.development),
        "locked": len(rows.test),
        "segments_without_rows": lost,
    }
    return Summary(line, {**counts, **{f"columns_{name}": len(columns) for name, columns in sets.items()}})


if __name__ == "__main__":
    main(run)
