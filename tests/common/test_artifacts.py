"""Artifacts are written whole, read back equal, and refuse what they are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlfactory.common import artifacts
from mlfactory.common.artifacts import Provenance
from mlfactory.common.errors import InputError


def facts(kind: str) -> Provenance:
    return artifacts.provenance(kind, "common", {}, {"a": 1})


def test_a_table_comes_back_equal_with_its_provenance(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.5, np.nan], "n": np.array([1, 2], np.int32)})
    artifacts.write_table(tmp_path / "t", frame, facts("thing"))
    back, about = artifacts.read_table(tmp_path / "t", "thing")
    pd.testing.assert_frame_equal(back, frame)
    assert (about["rows"], about["columns"], about["params"]) == (2, 2, {"a": 1})


def test_the_same_table_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(1000) / 7})
    hashes = set()
    for name in ("a", "b"):
        artifacts.write_table(tmp_path / name, frame, facts("thing"))
        hashes.add(artifacts.sha256(tmp_path / name))
    assert len(hashes) == 1


def test_a_matrix_is_row_major_float32_and_mapped(tmp_path: Path) -> None:
    columns = {"a": np.arange(10_000.0), "b": -np.arange(10_000.0)}
    artifacts.write_matrix(tmp_path / "m", columns, facts("boosting_optimal"))
    matrix = artifacts.read_matrix(tmp_path / "m", "boosting_optimal")
    assert isinstance(matrix.values, np.memmap)
    assert matrix.values.flags.c_contiguous
    assert matrix.values.dtype == np.float32
    np.testing.assert_array_equal(matrix.values, np.column_stack(list(columns.values())).astype(np.float32))


@pytest.mark.parametrize("writer", [artifacts.new_file, artifacts.new_folder])
def test_a_writer_that_fails_leaves_nothing_under_any_name(tmp_path: Path, writer: object) -> None:
    def fail() -> None:
        with writer(tmp_path / "out") as temporary:  # type: ignore[operator]
            (temporary / "part" if temporary.is_dir() else temporary).write_text("half")
            raise RuntimeError("stopped in the middle")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_artifact_that_was_there(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "j", {"v": 1})

    def fail() -> None:
        with artifacts.new_file(tmp_path / "j") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert artifacts.read_json(tmp_path / "j") == {"v": 1}


def test_an_artifact_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    artifacts.write_table(tmp_path / "t", pd.DataFrame({"x": [1.0]}), facts("labels"))
    with pytest.raises(InputError, match=r"is the artifact 'labels'; expected 'bars'"):
        artifacts.read_table(tmp_path / "t", "bars")


def test_an_artifact_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    artifacts.write_table(
        tmp_path / "t", pd.DataFrame({"x": [1.0]}), {**facts("labels"), "schema_version": 99}
    )
    with pytest.raises(InputError, match="schema version 99"):
        artifacts.read_table(tmp_path / "t", "labels")


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("timestamp,open\n")
    with pytest.raises(InputError, match="is not a Parquet file"):
        artifacts.read_table(tmp_path / "t", "bars")


def test_metadata_accepts_numpy_scalars_and_turns_non_finite_numbers_to_null() -> None:
    value = {"a": np.float32(1.5), "b": np.nan, "c": [np.inf, np.int64(2)], "d": np.array([1.0, -np.inf])}
    assert artifacts.clean(value) == {"a": 1.5, "b": None, "c": [None, 2], "d": [1.0, None]}
    assert "NaN" not in artifacts.to_json(value)


def test_a_folder_hash_follows_names_and_contents(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return artifacts.sha256(tmp_path / name)

    first = make("a", {"x": "1", "sub/y": "2"})
    assert make("b", {"sub/y": "2", "x": "1"}) == first
    assert make("c", {"x": "1", "sub/z": "2"}) != first
    assert make("d", {"x": "1", "sub/y": "3"}) != first


def test_a_matrix_of_another_shape_than_it_states_is_refused(tmp_path: Path) -> None:
    columns = {name: np.arange(5, dtype=np.float32) for name in ("a", "b")}
    artifacts.write_matrix(tmp_path / "m", columns, facts("boosting_optimal"))
    stated = artifacts.read_json(tmp_path / "m" / "provenance.json")
    for changed, message in (
        (
            {"rows": 4},
            r"holds float32 of shape \(5, 2\); its provenance says row-major float32 of shape \(4, 2\)",
        ),
        ({"columns": ["a", "b", "c"]}, r"of shape \(5, 3\)"),
        ({"columns": ["a", "a"]}, "names the column a twice"),
    ):
        artifacts.write_json(tmp_path / "m" / "provenance.json", {**stated, **changed})
        with pytest.raises(InputError, match=message):
            artifacts.read_matrix(tmp_path / "m", "boosting_optimal")
