"""Compute the feature table of a series."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlfactory.common.artifacts import provenance, read_table, sha256, write_parts
from mlfactory.common.bars import Bars, Ints, minutes, read_bars, timestamps
from mlfactory.common.errors import InputError
from mlfactory.common.ladder import Ladder, read_ladder
from mlfactory.common.stage import Summary, main
from mlfactory.features.compute import Plan, Regime, compute_parts, plan, setting_of
from mlfactory.features.params import Params
from mlfactory.features.registry import extra_files, load

PART = 1 << 17
"""Rows that are computed while those before them are being written."""


def run(
    bars: Path,
    regime: Path,
    mtf: Path,
    features: Path,
    params: Params = Params(),  # noqa: B008  (frozen)
) -> Summary:
    """Compute every feature column; row t uses bars up to and including t.

    Args:
        bars: the ``bars`` table.
        regime: the ``regime`` table of the same bars.
        mtf: the ``mtf`` folder of the same bars.
        features: table to write: ``timestamp`` and a float32 column per feature.
        params: which columns.
    """
    series, ladder = read_bars(bars), read_ladder(mtf)
    states, lookback = _read_regime(regime, series)
    _refuse_other_rows(ladder.close_minute, series.close_minute, mtf)
    chosen = plan(load(), setting_of(series, ladder, lookback), params)
    facts = provenance(
        "features",
        "features",
        {"bars": bars, "regime": regime, "mtf": mtf},
        params.model_dump(mode="json"),
        lookback={column.name: column.lookback for column in chosen.columns},
        catalogue=[vars(column) for column in chosen.columns],
        switched_off=[column.name for column in chosen.switched_off],
        extra_groups={name: sha256(path) for name, path in extra_files().items()},
    )
    parts = _parts(series, states, ladder, chosen)
    write_parts(features, parts, facts, len(series))
    return _summary(series, chosen)


def _parts(bars: Bars, regime: Regime, ladder: Ladder, chosen: Plan) -> Iterator[dict[str, Any]]:
    names = [column.name for column in chosen.columns]
    for rows, values in compute_parts(bars, regime, ladder, chosen, PART):
        yield {"timestamp": timestamps(bars.minute[rows]), **dict(zip(names, values, strict=True))}


def _read_regime(path: Path, bars: Bars) -> tuple[Regime, dict[str, int]]:
    frame, facts = read_table(path, "regime")
    _refuse_other_rows(minutes(frame.pop("timestamp")), bars.minute, path)
    values = {name: frame[name].to_numpy(dtype=np.float32, copy=True) for name in frame.columns}
    return values, {name: int(facts["lookback"][name]) for name in values}


def _refuse_other_rows(found: Ints, expected: Ints, path: Path) -> None:
    if not np.array_equal(found, expected):
        raise InputError(f"{path} has {len(found):,} rows that are not those of the {len(expected):,} bars")


def _summary(bars: Bars, chosen: Plan) -> Summary:
    groups = Counter(column.group for column in chosen.columns)
    warm_up = max(column.lookback for column in chosen.columns)
    line = f"{len(bars):,} rows, {len(chosen.columns)} columns in {len(groups)} groups, look-back {warm_up:,} bars"
    off = Counter(column.group for column in chosen.switched_off)
    if off:
        listed = ", ".join(f"{count} {group}" for group, count in off.items())
        line += f"; switched off without volume: {listed}"
    counts = {f"columns_{group}": float(count) for group, count in groups.items()}
    return Summary(line, {**counts, "lookback": float(warm_up), "switched_off": float(off.total())})


if __name__ == "__main__":
    main(run)
