"""A stage's signature is its command line, and bad input ends it with one line and exit code 2."""

import json
from pathlib import Path

import pytest

from mlfactory.common.errors import InputError
from mlfactory.common.params import Params, parse
from mlfactory.common.stage import Summary, call, execute, main


class Toy(Params):
    horizons: tuple[int, ...] = (20,)
    width: float = 1.5


def run(bars: Path, out: Path, seed: int = 0, params: Toy = Toy()) -> Summary:  # noqa: B008
    """Copy bars, for the sake of a test.

    Args:
        bars: a file,
            in 100 % of cases.
        out: its copy.

    Raises:
        InputError: there are no bars.
    """
    if not bars.is_file():
        raise InputError(f"{bars} does not exist")
    out.write_text(f"{params.horizons} {params.width} {seed}")
    return Summary("1 bar", {"rows": 1.0})


class Artifact:
    """What KFP hands to a component: a path and metadata."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.metadata: dict[str, object] = {}

    def log_metric(self, name: str, value: float) -> None:
        self.metadata[name] = value


def test_the_signature_of_run_is_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").write_text("x")
    argv = ["--bars", str(tmp_path / "b"), "--out", str(tmp_path / "o"), "--seed", "7"]
    main(run, [*argv, "--params", '{"horizons": [5, 10]}'])
    assert (tmp_path / "o").read_text() == "(5, 10) 1.5 7"
    assert capsys.readouterr().out.strip().endswith("1 bar")


def test_bad_input_ends_a_stage_with_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(run, ["--bars", str(tmp_path / "absent"), "--out", str(tmp_path / "o")])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert "absent does not exist" in error


def test_the_help_of_a_stage_tells_what_each_argument_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(run, ["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Copy bars, for the sake of a test. options:" in said
    assert "--bars PATH a file, in 100 % of cases. --out PATH its copy. --seed INT" in said
    assert "JSON object; keys: horizons, width" in said


def test_parameters_that_are_no_object_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(run, ["--bars", "b", "--out", "o", "--params", "[3]"])
    assert stop.value.code == 2
    assert "[3] is not a JSON object" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_ends_a_stage_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b").write_text("x")
    with pytest.raises(SystemExit) as stop:
        main(run, ["--bars", str(tmp_path / "b"), "--out", str(tmp_path)])
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"error: Is a directory: {tmp_path}\n"


def test_integers_that_kfp_made_floats_become_integers_again(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    arguments = {"bars": tmp_path / "b", "out": tmp_path / "o", "params": {"horizons": [5.0, 10.0]}}
    call(run, arguments)
    assert (tmp_path / "o").read_text().startswith("(5, 10)")


def test_an_unknown_parameter_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"toy\.horizon is not a parameter; known: horizons, width"):
        parse(Toy, {"horizon": 5}, "toy")


def test_a_parameter_of_a_wrong_type_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"toy\.width is 'wide'"):
        parse(Toy, {"width": "wide"}, "toy")


def test_volatile_facts_go_to_timings_and_outputs_carry_their_hash(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    bars, out, timings = (Artifact(tmp_path / name) for name in ("b", "o", "t"))
    bars.metadata["rows"] = 1
    execute(run, timings, bars=bars, out=out, params={})
    written = json.loads((tmp_path / "t").read_text())
    assert written["seconds"] >= 0
    assert written["peak_mib"] > 0
    assert timings.metadata["rows"] == 1.0
    assert "sha256" in out.metadata
    assert bars.metadata == {"rows": 1}
