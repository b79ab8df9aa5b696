"""Every way of writing the same bars gives the same rows; what cannot be told is an error, never a guess."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlfactory.common.errors import InputError
from mlfactory.ingest.params import Params
from mlfactory.ingest.source import NO_TIME, Rows, local_copy, read_rows

STAMPS = pd.DatetimeIndex(["2024-07-01 13:30", "2024-07-01 13:31", "2024-07-01 13:33"], tz="UTC")
FRAME = pd.DataFrame(
    {
        "timestamp": STAMPS,
        "open": [10.0, 11.0, 12.0],
        "high": [11.0, 12.0, 13.5],
        "low": [9.5, 10.5, 11.0],
        "close": [11.0, 12.0, 12.5],
        "volume": [100.0, 0.0, 7.5],
    }
)
HEADER = "timestamp,open,high,low,close,volume\n"
ROW = "2024-07-01T13:30:00Z,10,11,9.5,11,100\n"


def write(folder: Path, text: str, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def assert_is_frame(rows: Rows) -> None:
    assert rows.row.tolist() == [0, 1, 2]
    assert pd.DatetimeIndex(rows.microsecond.astype("datetime64[us]"), tz="UTC").equals(STAMPS.as_unit("us"))
    for name, values in rows.values.items():
        assert values.tolist() == FRAME[name].tolist()


PARQUET = {
    "zoned": FRAME,
    "other zone": FRAME.assign(timestamp=STAMPS.tz_convert("America/New_York")),
    "naive UTC": FRAME.assign(timestamp=STAMPS.tz_localize(None)),
    "nanoseconds": FRAME.assign(timestamp=STAMPS.as_unit("ns")),
    "epoch seconds": FRAME.assign(timestamp=STAMPS.as_unit("s").astype("int64")),
    "epoch milliseconds": FRAME.assign(timestamp=STAMPS.as_unit("ms").astype("int64")),
    "epoch nanoseconds": FRAME.assign(timestamp=STAMPS.as_unit("ns").astype("int64")),
    "text": FRAME.assign(timestamp=STAMPS.strftime("%Y-%m-%d %H:%M:%S")),
    "text with offset": FRAME.assign(timestamp=STAMPS.tz_convert("Asia/Tokyo").map(lambda t: t.isoformat())),
    "named index": FRAME.set_index("timestamp"),
    "other case and order": FRAME[FRAME.columns[::-1]].rename(columns=str.title),
    "alias": FRAME.rename(columns={"timestamp": "Datetime"}),
    "extra columns": FRAME.assign(symbol="ES", time=1),
    "float32": FRAME.astype({name: "float32" for name in ("open", "high", "low", "close", "volume")}),
    "integers": FRAME.astype({"open": "int32"}),
}


@pytest.mark.parametrize("form", PARQUET)
def test_parquet_in_any_form_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    PARQUET[form].to_parquet(tmp_path / "bars.parquet")
    assert_is_frame(read_rows(tmp_path / "bars.parquet", Params()))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_with_any_delimiter_gives_the_same_rows(tmp_path: Path, delimiter: str, line_end: str) -> None:
    FRAME.to_csv(tmp_path / "bars.csv", index=False, sep=delimiter, lineterminator=line_end)
    assert_is_frame(read_rows(tmp_path / "bars.csv", Params()))


def test_compressed_csv_gives_the_same_rows(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bars.csv.gz", "wt", encoding="utf-8") as stream:
        FRAME.to_csv(stream, index=False)
    assert_is_frame(read_rows(tmp_path / "bars.csv.gz", Params()))


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "bars.csv", index=False, encoding="utf-8-sig")
    assert_is_frame(read_rows(tmp_path / "bars.csv", Params()))


def test_columns_are_found_by_the_users_names(tmp_path: Path) -> None:
    FRAME.rename(columns={"timestamp": "t", "close": "last", "volume": "size"}).to_parquet(
        tmp_path / "b.parquet"
    )
    names = {"timestamp": "t", "close": "last", "volume": "size"}
    assert_is_frame(read_rows(tmp_path / "b.parquet", Params(columns=names)))


def test_naive_stamps_are_in_the_stated_zone(tmp_path: Path) -> None:
    local = FRAME.assign(timestamp=STAMPS.tz_convert("Europe/Berlin").tz_localize(None))
    local.to_csv(tmp_path / "bars.csv", index=False)
    assert_is_frame(read_rows(tmp_path / "bars.csv", Params(timezone="Europe/Berlin")))


def test_stamps_in_another_layout_are_read_by_the_stated_one(tmp_path: Path) -> None:
    FRAME.assign(timestamp=STAMPS.strftime("%d.%m.%Y %H:%M")).to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(InputError, match=r"for example '.*'; state the layout with ingest\.timestamp_format"):
        read_rows(tmp_path / "bars.csv", Params())
    assert_is_frame(read_rows(tmp_path / "bars.csv", Params(timestamp_format="%d.%m.%Y %H:%M")))


def test_a_file_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "bars.csv", index=False, header=False)
    assert_is_frame(read_rows(tmp_path / "bars.csv", Params(header=list(FRAME.columns))))


def test_date_and_time_columns_are_joined(tmp_path: Path) -> None:
    parts = FRAME.assign(Date=STAMPS.strftime("%Y-%m-%d"), Time=STAMPS.strftime("%H:%M:%S")).drop(
        columns="timestamp"
    )
    parts.to_csv(tmp_path / "bars.csv", index=False)
    assert_is_frame(read_rows(tmp_path / "bars.csv", Params()))


def test_local_times_that_occur_twice_or_never_cannot_be_read(tmp_path: Path) -> None:
    stamps = ["2024-03-31 02:30", "2024-10-27 02:30", "2024-10-27 03:30"]
    FRAME.assign(timestamp=stamps).to_csv(tmp_path / "bars.csv", index=False)
    rows = read_rows(tmp_path / "bars.csv", Params(timezone="Europe/Berlin"))
    assert (rows.microsecond == NO_TIME).tolist() == [True, True, False]


@pytest.mark.parametrize("text", ["", "abc", "1,5", "nan", "12:00"])
def test_what_is_no_number_becomes_nan_and_no_row_is_lost(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, HEADER + f'2024-07-01T13:30:00Z,"{text}",11,9.5,11,100\n' + ROW)
    assert np.isnan(read_rows(path, Params()).values["open"]).tolist() == [True, False]


@pytest.mark.parametrize(
    "stamp", ["", "soon", "2024-13-01T00:00:00Z", "1970-01-01T00:00:00Z", "2024-07-01 25:00Z"]
)
def test_what_is_no_stamp_is_marked_and_no_row_is_lost(tmp_path: Path, stamp: str) -> None:
    path = write(tmp_path, HEADER + ROW + f"{stamp},10,11,9.5,11,100\n".replace("soon", "soonZ"))
    assert (read_rows(path, Params()).microsecond == NO_TIME).tolist() == [False, True]


def test_the_messy_file_is_refused_by_its_field_count(shared_data: Path) -> None:
    with pytest.raises(InputError, match=r"line 2 has 8 fields but the header names 7 .*ingest\.header"):
        read_rows(shared_data / "raw" / "fesx_1m_2006_messy.csv", Params())


def test_the_messy_file_is_read_with_a_full_header(shared_data: Path) -> None:
    header = ["date", "time", "open", "high", "low", "close", "volume", "open_interest"]
    messy = read_rows(
        shared_data / "raw" / "fesx_1m_2006_messy.csv", Params(header=header, timezone="Europe/Berlin")
    )
    truth = read_rows(shared_data / "fesx_1m_2006.parquet", Params())
    np.testing.assert_array_equal(messy.microsecond, truth.microsecond)
    for name, values in truth.values.items():
        np.testing.assert_array_equal(messy.values[name], values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bars.csv is empty"),
        (HEADER, "bars.csv holds no rows"),
        (HEADER + ROW + ROW.replace(",11,100", ",100"), "line 3 has 5 fields but the header names 6"),
        (ROW * 3, r"has no header line \('2024-07-01T13:30:00Z,10.*ingest\.header"),
        ("timestamp,open,high,low,close\n", "has no column 'volume'; found: .*ingest.columns.volume"),
        (
            "open,date,datetime,high,low,close,volume\n" + "1," * 6 + "1\n",
            r"several columns .*\(date, datetime\)",
        ),
        (
            "timestamp,open,Open,high,low,close,volume\n" + "1," * 6 + "1\n",
            r"several columns .*\(open, Open\)",
        ),
        (HEADER.replace("close", "open") + ROW, "a column name occurs twice"),
        (HEADER + ROW + ROW.replace("Z", ""), "1 of 2 stamps state a time zone and the others do not"),
    ],
)
def test_a_bad_csv_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(write(tmp_path, text), Params())


def test_a_file_that_is_neither_text_nor_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(InputError, match="neither Parquet nor CSV"):
        read_rows(tmp_path / "bars.csv", Params())


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(FRAME.to_csv(index=False).encode())
    (tmp_path / "bars.csv.gz").write_bytes(whole[:20] + b"damaged" + whole[27:])
    with pytest.raises(InputError, match=r"bars.csv.gz is"):
        read_rows(tmp_path / "bars.csv.gz", Params())


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-50])
    with pytest.raises(InputError, match=r"cut.parquet is not a readable Parquet file"):
        read_rows(tmp_path / "cut.parquet", Params())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (Params(columns={"close": "last"}), "has no column 'last'; found: timestamp, open"),
        (Params(columns={"last": "close"}), "ingest.columns.last is not a column; known: timestamp, open"),
        (Params(timezone="Mars/Olympus"), "ingest.timezone 'Mars/Olympus' is not a time zone"),
    ],
)
def test_a_bad_reading_parameter_is_one_clear_error(tmp_path: Path, params: Params, message: str) -> None:
    FRAME.assign(timestamp=STAMPS.tz_localize(None)).to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / "bars.parquet", params)


def test_a_uri_is_read_like_a_path(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "bars.parquet")
    with local_copy(f"file://{tmp_path}/bars.parquet") as path:
        assert_is_frame(read_rows(path, Params()))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.parquet", "source none.parquet does not exist"),
        (".", "source . is not a file"),
        ("memory://none.parquet", "source memory://none.parquet does not exist"),
        ("nowhere://none.parquet", "nowhere://none.parquet cannot be read: Protocol not known"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_clear_error(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message), local_copy(source):
        pass
