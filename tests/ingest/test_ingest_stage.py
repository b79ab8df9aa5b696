"""The stage alone: its command line, its three outputs, and that a bad source leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mlfactory.common.artifacts import read_json, read_table, sha256
from mlfactory.common.bars import Bars, read_bars
from mlfactory.common.errors import InputError
from mlfactory.common.stage import Summary, call
from mlfactory.ingest.params import Params
from mlfactory.ingest.stage import run

SMALL = {"synthetic": {"bars": 3000.0, "seed": 1.0}}  # KFP sends numbers as floats


def ingest(folder: Path, source: str = "synthetic:", **arguments: object) -> Summary:
    outputs = {name: folder / name for name in ("bars", "quarantine", "data_report")}
    return call(run, {"source": source, **outputs, **arguments})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ingest")
    ingest(out, params=SMALL)
    return out


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    frame, _ = read_table(folder / "bars", "bars")
    path = folder / "source.parquet"
    frame[["timestamp", "open", "high", "low", "close", "volume"]].to_parquet(path)
    return path


def assert_equal(one: Bars, other: Bars) -> None:
    pd.testing.assert_frame_equal(pd.DataFrame(arrays(one)), pd.DataFrame(arrays(other)))
    assert (one.bar_minutes, one.instrument) == (other.bar_minutes, other.instrument)


def arrays(bars: Bars) -> dict[str, object]:
    return {name: value for name, value in vars(bars).items() if name not in ("bar_minutes", "instrument")}


def test_generated_bars_are_those_of_the_sp_future_by_default(folder: Path) -> None:
    bars = read_bars(folder / "bars")
    assert (len(bars), bars.bar_minutes, bars.instrument.symbol) == (3000, 1, "ES")
    assert read_table(folder / "quarantine", "quarantine")[0].empty


def test_generated_bars_read_back_from_a_file_are_the_same(folder: Path, file: Path, tmp_path: Path) -> None:
    ingest(tmp_path, str(file), symbol="ES")
    assert_equal(read_bars(tmp_path / "bars"), read_bars(folder / "bars"))


def test_the_same_source_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    ingest(tmp_path, params=SMALL)
    for name in ("bars", "quarantine", "data_report"):
        assert sha256(tmp_path / name) == sha256(folder / name)


def test_a_csv_file_gives_the_same_bars_as_parquet(folder: Path, file: Path, tmp_path: Path) -> None:
    pd.read_parquet(file).to_csv(tmp_path / "source.csv", index=False)
    ingest(tmp_path, str(tmp_path / "source.csv"), symbol="ES")
    assert_equal(read_bars(tmp_path / "bars"), read_bars(folder / "bars"))


def test_the_report_names_the_source_by_its_hash_and_no_path(file: Path, tmp_path: Path) -> None:
    ingest(tmp_path, str(file), symbol="ES", bars_version=sha256(file))
    report = read_json(tmp_path / "data_report")
    assert report["inputs"] == {"source": sha256(file)}
    assert (report["artifact"], report["bars"], report["rejected"]) == ("data_report", 3000, {})
    assert str(tmp_path) not in json.dumps(report)


def test_the_summary_counts_the_rejected_by_reason(file: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(file)
    frame.loc[10, "high"] = 1.0
    frame.loc[[20, 21], "volume"] = -1.0
    frame.to_parquet(tmp_path / "bad.parquet")
    summary = ingest(tmp_path, str(tmp_path / "bad.parquet"), symbol="ESH2")
    assert summary.line == (
        "2,997 bars of 1 min, ESH2, 3 sessions, 1 segment, 3 rejected "
        "(1 high_below_open_or_close, 2 volume_negative)"
    )
    table, facts = read_table(tmp_path / "quarantine", "quarantine")
    assert table["row"].tolist() == [10, 20, 21]
    assert facts["reasons"] == {"high_below_open_or_close": 1, "volume_negative": 2}


def test_an_own_instrument_needs_no_known_symbol(file: Path, tmp_path: Path) -> None:
    entry = {
        "tick_size": 0.25,
        "tick_value": 1.0,
        "commission_ticks": 1,
        "slippage_ticks": 1,
        "half_spread_ticks": 1,
        "calendar": "24/7",
    }
    ingest(tmp_path, str(file), symbol="MINE", params={"instrument": entry})
    bars = read_bars(tmp_path / "bars")
    assert bars.instrument.symbol == "MINE"
    assert bars.instrument.continuous


def test_a_changed_file_is_refused_by_its_version(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has sha256 .* bars_version says 0000"):
        ingest(tmp_path, str(file), bars_version="0" * 64)
    ingest(tmp_path, str(file), symbol="ES", bars_version="etag-77")


def test_a_bad_source_leaves_no_output(tmp_path: Path) -> None:
    (tmp_path / "source.csv").write_text("timestamp,open,high,low,close\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column 'volume'"):
        ingest(tmp_path, str(tmp_path / "source.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["source.csv"]


def test_an_unknown_parameter_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ingest.max_gaps is not a parameter; known: .*max_gap_minutes"):
        ingest(tmp_path, params={"max_gaps": 3})


def test_the_command_line_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    names = ("bars", "quarantine", "data-report")
    outputs = [word for name in names for word in (f"--{name}", str(tmp_path / name))]
    command = [sys.executable, "-m", "mlfactory.ingest.stage", "--source", "none.parquet", *outputs]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: source none.parquet does not exist\n"


def test_the_defaults_are_those_of_the_parameters() -> None:
    assert Params().max_gap_minutes == 30
    assert Params().synthetic.signal == "planted"
