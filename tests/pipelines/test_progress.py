"""What a run shows: a line per finished task, what is being done, and the leaderboard."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mlfactory.common.stage import MARK, Summary, execute, progress
from mlfactory_pipelines import cli
from mlfactory_pipelines.progress import Display, Finished, activity, stage_line, tables

TABLE = """### Locked test, horizon 20 bars

| model | log loss |
| --- | ---: |
| **meta_ridge** | 1.0968 |
| lightgbm | 1.1038 |
| *prior* | 1.0946 |

4 trials.
"""


def drawn(*parts: object, terminal: bool = False, width: int = 60) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal).print(*parts, sep="\n")
    return stream.getvalue()


def display(terminal: bool) -> tuple[Display, io.StringIO]:
    stream = io.StringIO()
    return Display(Console(file=stream, width=100, force_terminal=terminal), total=2), stream


def test_the_line_that_a_stage_prints_is_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Timings:
        path = str(tmp_path / "timings")

        def log_metric(self, name: str, value: float) -> None: ...

    def run() -> Summary:
        progress("fold 2 | of lightgbm", 3, 7)
        return Summary("98,304 bars | 31 % up")

    execute(run, Timings())
    doing, ended = capsys.readouterr().out.splitlines()
    assert activity(doing) == "fold 2 | of lightgbm 3/7"
    found = stage_line("    " + ended)
    assert found is not None
    assert found[0] == "98,304 bars | 31 % up"
    assert found[2] > 10


@pytest.mark.parametrize("text", ["", "mlfactory", "3 bars | 1.0 | 2", "mlfactory > x | 1/2"])
def test_other_lines_are_not_taken_for_the_end_of_a_stage(text: str) -> None:
    assert stage_line(text) is None


@pytest.mark.parametrize("text", ["", "epoch 3/7", f"{MARK} labels | 3 bars | 0.1 | 9"])
def test_other_lines_are_not_taken_for_progress(text: str) -> None:
    assert activity(text) is None


def test_a_finished_task_is_one_plain_line() -> None:
    shown, stream = display(terminal=False)
    with shown.shown():
        shown.doing("labels")
        shown.finished(Finished("labels", "6,000 bars [of ES]", 1.26, 1234.4, cached=False))
        shown.finished(Finished("dataset", "10 rows", 3.0, 10.0, cached=True))
    assert stream.getvalue().splitlines() == [
        "labels                                1.3 s  1,234 MiB  6,000 bars [of ES]",
        "dataset                              cached     10 MiB  10 rows",
    ]


def test_a_terminal_also_sees_what_is_being_done() -> None:
    shown, stream = display(terminal=True)
    with shown.shown():
        shown.doing("train-boosting/lightgbm_h20", "fold 2 3/7")
        shown._bar.refresh()
    assert "train-boosting/lightgbm_h20: fold 2 3/7" in stream.getvalue()


def test_the_leaderboard_becomes_a_table() -> None:
    lines = [line.split() for line in drawn(*tables(TABLE)).splitlines() if line.strip()]
    assert ["model", "log", "loss"] in lines
    assert ["meta_ridge", "1.0968"] in lines
    assert ["prior", "1.0946"] in lines
    assert lines[0] == ["Locked", "test,", "horizon", "20", "bars"]
    assert lines[-1] == ["4", "trials."]


def test_the_best_line_of_the_leaderboard_is_bold() -> None:
    bold = [line for line in drawn(*tables(TABLE), terminal=True).splitlines() if "\x1b[1m" in line]
    assert any("meta_ridge" in line for line in bold)
    assert not any("lightgbm" in line for line in bold)


def test_a_narrow_terminal_sees_every_name_and_number_on_one_line_without_intervals() -> None:
    head = "| model | log loss | gain over prior (95 %) | accuracy | trades | net return | Sharpe (95 %) |"
    rule = f"| --- |{' ---: |' * 6}"
    best = "| **meta_ridge** | 1.0794 | +0.0112 (0.0012 … 0.0452) | 44.3 % | 76 | +4.23 % | 4.31 (2.20 … 50.80) |"
    broken = "| lightgbm | failed | MemoryError: a very long story of many words (and more) | | | | |"
    last = "| *shuffled_labels* | 1.0972 |  |  | 7 | +0.28 % | 0.5 |"
    text = "\n".join([head, rule, best, broken, last])
    wide, narrow = (drawn(*tables(text, width), width=width).splitlines() for width in (140, 80))
    assert any("(0.0012 … 0.0452)" in line for line in wide)
    assert max(map(len, narrow)) <= 80
    assert [line.split()[0] for line in narrow if "─" not in line and line.strip()] == [
        "model",
        "meta_ridge",
        "lightgbm",
        "shuffled_labels",
    ]
    shown = next(line for line in narrow if "meta_ridge" in line)
    assert shown.split() == ["meta_ridge", "1.0794", "+0.0112", "44.3", "%", "76", "+4.23", "%", "4.31"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("what", "key"), [("models", "name"), ("features", "name"), ("stages", "stage")])
def test_a_listing_is_a_table_or_json(what: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for words in ([what, "--json"], [what]):
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        assert not end.value.code
        said.append(capsys.readouterr().out)
    rows = json.loads(said[0])
    assert len(rows) > 5
    assert all(str(row[key]) in said[1] for row in rows)
