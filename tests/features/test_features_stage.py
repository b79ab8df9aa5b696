"""The features stage from artifacts to artifact: what it writes, what it says, what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import feature_chain as chain
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.conftest import make_bars

from mlfactory.common.artifacts import provenance, read_table, sha256, write_table
from mlfactory.common.bars import Bars, timestamps, write_bars
from mlfactory.common.errors import InputError
from mlfactory.common.ladder import write_ladder
from mlfactory.common.stage import Summary, call
from mlfactory.features import stage
from mlfactory.features.registry import EXTRA_FOLDERS, catalogue
from mlfactory.features.stage import run
from mlfactory.mtf.bins import build, usable
from mlfactory.regime import compute as regimes


def inputs(folder: Path, bars: Bars) -> dict[str, Path]:
    """Write the three input artifacts of a series."""
    folder.mkdir(exist_ok=True)
    path = {name: folder / name for name in ("bars", "regime", "mtf")}
    write_bars(path["bars"], bars, provenance("bars", "ingest", {}, {}))
    lookback = regimes.lookbacks(chain.REGIME, bars.bar_minutes)
    frame = pd.DataFrame({"timestamp": timestamps(bars.minute), **regimes.compute(bars, chain.REGIME)})
    write_table(path["regime"], frame, provenance("regime", "regime", {}, {}, lookback=lookback))
    ladder = build(bars, usable(chain.STEPS, bars.bar_minutes)[0])
    write_ladder(path["mtf"], ladder, provenance("mtf", "mtf", {}, {}))
    return path


@pytest.fixture(scope="module")
def series() -> Bars:
    return make_bars(3000)


@pytest.fixture(scope="module")
def given(series: Bars, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return inputs(tmp_path_factory.mktemp("inputs"), series)


@pytest.fixture(scope="module")
def written(given: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    path = tmp_path_factory.mktemp("features") / "features"
    return path, call(run, {**given, "features": path, "params": {}})


def test_the_table_holds_a_timestamp_and_every_column_in_order(
    written: tuple[Path, Summary], series: Bars
) -> None:
    frame, facts = read_table(written[0], "features")
    assert list(frame.columns) == ["timestamp", *(column["name"] for column in facts["catalogue"])]
    assert list(facts["lookback"]) == sorted(facts["lookback"])
    assert set(facts["lookback"]) == set(frame.columns) - {"timestamp"}
    assert (frame.timestamp == timestamps(series.minute)).all()
    assert (frame.drop(columns="timestamp").dtypes == np.float32).all()


def test_the_values_are_those_of_the_chain(written: tuple[Path, Summary], series: Bars) -> None:
    frame, expected = read_table(written[0], "features")[0], chain.table(series)
    np.testing.assert_array_equal(frame.drop(columns="timestamp").to_numpy().T, expected.values)


def test_the_size_of_the_parts_changes_no_value(
    written: tuple[Path, Summary], given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PART", 700)
    call(run, {**given, "features": tmp_path / "parts", "params": {}})
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "parts", "features")[0], read_table(written[0], "features")[0]
    )
    assert pq.ParquetFile(tmp_path / "parts").num_row_groups == 5


def test_columns_are_finite_after_their_look_back(written: tuple[Path, Summary], series: Bars) -> None:
    frame, facts = read_table(written[0], "features")
    for name, lookback in facts["lookback"].items():
        warm = series.row_in_segment >= lookback - 1
        assert np.isfinite(frame[name].to_numpy()[warm]).all()
        assert frame[name].to_numpy()[~warm].size == np.isnan(frame[name].to_numpy()[~warm]).sum()


def test_the_same_input_gives_the_same_bytes(
    written: tuple[Path, Summary], given: dict[str, Path], tmp_path: Path
) -> None:
    call(run, {**given, "features": tmp_path / "again", "params": {}})
    assert sha256(tmp_path / "again") == sha256(written[0])


def test_the_summary_counts_columns_per_group(written: tuple[Path, Summary]) -> None:
    summary = written[1]
    columns = read_table(written[0], "features")[1]["catalogue"]
    assert summary.line.startswith(f"3,000 rows, {len(columns)} columns in 15 groups, look-back ")
    assert summary.metrics["columns_candles"] == sum(c["group"] == "candles" for c in columns)


def test_a_series_without_volume_runs_with_its_volume_columns_switched_off(tmp_path: Path) -> None:
    bars = make_bars(3000)
    given = inputs(tmp_path / "in", replace(bars, volume=np.full(3000, np.nan)))
    summary = call(run, {**given, "features": tmp_path / "features", "params": {}})
    frame, facts = read_table(tmp_path / "features", "features")
    needs = {c["name"] for c in catalogue() if c["needs_volume"]}
    assert set(facts["switched_off"]) >= needs
    assert needs.isdisjoint(frame.columns)
    assert "switched off without volume: " in summary.line
    assert summary.metrics["switched_off"] == len(facts["switched_off"])


def test_steps_up_to_the_base_yield_no_columns(tmp_path: Path) -> None:
    bars = make_bars(3000, hole=False)
    fives = replace(bars, minute=bars.minute[0] + 5 * np.arange(3000), bar_minutes=5)
    opened = fives.minute // 1440 * 1440
    fives = replace(fives, session=opened // 1440, session_open=opened, session_close=opened + 1440)
    given = inputs(tmp_path / "in", fives)
    call(run, {**given, "features": tmp_path / "features", "params": {"groups": ["mtf"]}})
    frame, facts = read_table(tmp_path / "features", "features")
    assert {name.rpartition("_")[2] for name in frame.columns} == {
        "timestamp",
        "10m",
        "15m",
        "20m",
        "25m",
        "30m",
        "45m",
        "60m",
    }
    assert facts["lookback"]["rsi_14_60m"] == (15 + 2) * 60 / 5


def test_long_steps_add_their_columns_and_change_no_other(
    given: dict[str, Path], series: Bars, tmp_path: Path
) -> None:
    mtf = {"groups": ["mtf"]}
    call(run, {**given, "features": tmp_path / "usual", "params": mtf})
    steps = [*chain.STEPS, 240, 1440]
    write_ladder(tmp_path / "mtf", build(series, steps), provenance("mtf", "mtf", {}, {}))
    call(run, {**given, "mtf": tmp_path / "mtf", "features": tmp_path / "long", "params": mtf})
    usual, long = (read_table(tmp_path / name, "features")[0] for name in ("usual", "long"))
    pd.testing.assert_frame_equal(usual, long[usual.columns])
    added = {name.rpartition("_")[2] for name in set(long.columns) - set(usual.columns)}
    assert added == {"240m", "1440m"}


def test_selected_columns_have_the_values_they_have_among_all(
    written: tuple[Path, Summary], given: dict[str, Path], tmp_path: Path
) -> None:
    call(
        run, {**given, "features": tmp_path / "few", "params": {"groups": ["momentum"], "exclude": ["rsi_7"]}}
    )
    few, whole = read_table(tmp_path / "few", "features")[0], read_table(written[0], "features")[0]
    assert "rsi_7" not in few
    pd.testing.assert_frame_equal(few, whole[few.columns])


def test_a_group_from_another_folder_is_part_of_the_table_and_of_its_provenance(
    given: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "groups").mkdir()
    file = tmp_path / "groups" / "own.py"
    file.write_text(
        "from mlfactory.features.registry import feature\n"
        "@feature({'doubled': 1}, unit='price')\n"
        "def doubled(x):\n    'Twice the close.'\n    return 2 * x.close\n"
    )
    monkeypatch.setenv(EXTRA_FOLDERS, str(tmp_path / "groups"))
    call(run, {**given, "features": tmp_path / "features", "params": {"groups": ["own"]}})
    frame, facts = read_table(tmp_path / "features", "features")
    assert list(frame.columns) == ["timestamp", "doubled"]
    assert facts["extra_groups"] == {"own": sha256(file)}


def test_artifacts_of_other_bars_are_refused(given: dict[str, Path], tmp_path: Path) -> None:
    other = inputs(tmp_path / "other", make_bars(2900))
    for name in ("regime", "mtf"):
        mixed = {**given, name: other[name]}
        with pytest.raises(InputError, match=rf"{name} has 2,900 rows that are not those of the 3,000 bars"):
            call(run, {**mixed, "features": tmp_path / "features", "params": {}})
    assert not (tmp_path / "features").exists()


def test_a_price_that_is_not_positive_is_named(given: dict[str, Path], tmp_path: Path, series: Bars) -> None:
    low = series.low.copy()
    low[1234] = -0.5
    path = tmp_path / "bars"
    write_bars(path, replace(series, low=low), provenance("bars", "ingest", {}, {}))
    when = np.datetime64(int(series.minute[1234]), "m")
    with pytest.raises(
        InputError, match=f"the bar of {when} has a low of -0.5: features need positive prices"
    ):
        call(run, {**given, "bars": path, "features": tmp_path / "features", "params": {}})


def test_the_stage_runs_from_the_shell(given: dict[str, Path], tmp_path: Path) -> None:
    flags = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    params = json.dumps({"groups": ["temporal"]})
    command = [sys.executable, "-m", "mlfactory.features.stage", *flags]
    roots = Path(__file__).parents[2] / "components"
    environment = {**os.environ, "PYTHONPATH": str(roots)}
    done = subprocess.run(
        [*command, "--features", str(tmp_path / "out"), "--params", params],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("features: 3,000 rows, 11 columns in 1 groups, look-back 2 bars")
    wrong = subprocess.run(
        [*command, "--features", str(tmp_path / "x"), "--params", '{"group": []}'],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert wrong.returncode == 2
    assert wrong.stderr == "error: features.group is not a parameter; known: exclude, groups, levels\n"
