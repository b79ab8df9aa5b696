"""The audit as a step and as a command: what it writes, and with which exit code it ends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.audit.conftest import SMALL
from tests.audit.test_audit import planted  # noqa: F401  (a fixture)

from mlfactory import report
from mlfactory.audit.cuts import ABOUT
from mlfactory.audit.page import MARKS
from mlfactory.audit.stage import run
from mlfactory.common.artifacts import provenance, read_json, sha256
from mlfactory.common.bars import Bars, write_bars
from mlfactory.common.stage import call
from mlfactory_pipelines import cli

SMALL_SETS = [
    f"--set={section}.{key}={value}" for section, keys in SMALL.items() for key, value in keys.items()
]
QUICK = [*SMALL_SETS, "--set=features.groups=[temporal]"]
CATCHING = [*SMALL_SETS, "--set=features.groups=[planted]"]


@pytest.fixture(scope="module")
def source(short: Bars, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pandas as pd

    from mlfactory.common.bars import timestamps

    file = tmp_path_factory.mktemp("source") / "bars.parquet"
    prices = {name: getattr(short, name) for name in ("open", "high", "low", "close", "volume")}
    pd.DataFrame({"timestamp": timestamps(short.minute), **prices}).to_parquet(file)
    return file


def command(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def stage(short: Bars, folder: Path, **sections: Any) -> tuple[Path, Path]:
    folder.mkdir()
    write_bars(folder / "bars", short, provenance("bars", "common", {}, {}))
    given = {"bars": folder / "bars", "audit": folder / "audit", "html": folder / "html", "params": {}}
    call(run, {**given, **SMALL, "features": {"groups": ["temporal"]}, **sections})
    return folder / "audit", folder / "html"


def test_the_step_writes_the_same_bytes_twice_and_states_what_it_audited(short: Bars, tmp_path: Path) -> None:
    first, again = (stage(short, tmp_path / name) for name in ("first", "again"))
    assert [sha256(path) for path in first] == [sha256(path) for path in again]
    document = read_json(first[0])
    assert (document["artifact"], document["stage"]) == ("audit", "audit")
    assert document["inputs"] == {"bars": sha256(tmp_path / "first" / "bars")}
    assert document["params"]["regime"]["window_bars"] == 300
    assert document["params"]["features"]["groups"] == ["temporal"]


@pytest.mark.usefixtures("planted")
def test_a_finding_does_not_end_the_step_but_is_in_its_line(
    short: Bars, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit, html = stage(short, tmp_path / "caught", features={"groups": ["planted"]})
    assert read_json(audit)["counts"]["failed"] == 4
    page = html.read_text(encoding="utf-8")
    assert "4 columns break causality." in page
    assert (
        page.index('<h2 id="failed">') < page.index('<h2 id="not-tested">') < page.index('<h2 id="columns">')
    )
    assert re.search(r"<code>peek</code>.*sees the future", page)


def test_the_page_is_one_file_without_a_request(short: Bars, tmp_path: Path) -> None:
    page = stage(short, tmp_path / "page")[1].read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"<script|https?://|<link|@import", page)
    assert "Every column is causal." in page
    assert page.count("<details") == page.count("</details>") > 5


def test_the_command_ends_with_0_and_prints_a_row_per_column(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "audit.html"
    assert command("audit", source, "--symbol", "BTCUSD", *QUICK, "--html", page) == 0
    out, err = capsys.readouterr()
    assert re.search(r"features +temporal +hour_sin +1 +\d+ +\d+ +0 +\d+ +0 +passed", out)
    assert re.search(r"\d+ columns: 0 failed, 6 not tested, \d+ passed", err)
    assert page.stat().st_size > 10_000


@pytest.mark.usefixtures("planted")
def test_the_command_ends_with_1_when_a_column_is_caught(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("audit", source, "--symbol", "BTCUSD", *CATCHING, "--json") == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    verdicts = {row["column"]: row["verdict"] for row in document["columns"] if row["group"] == "planted"}
    caught = {name for name, verdict in verdicts.items() if verdict == "failed"}
    assert caught == {"peek", "expanding", "normalised", "undeclared"}
    assert verdicts["constant"] == "not tested"
    assert "not tested: features.constant: no garbage changed it after a cut" in err
    assert "failed: features.expanding: depends on where the file starts" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.parquet"], "none.parquet"),
        (["{source}", "--html", "page.txt"], "the name must end with .html"),
        (["{source}", "--set", "audit.cuts=3"], "audit.cuts is 3"),
        (["{source}", "--set", "features.groups=[waves]"], "features.groups holds 'waves'"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    arguments: list[str], message: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [argument.format(source=source) for argument in arguments]
    assert command("audit", *told) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ABOUT)
def test_every_kind_of_cut_has_a_colour_of_its_own(kind: str) -> None:
    css = (Path(report.__file__).parent / "page.css").read_text()
    styles = {
        name: re.findall(rf"\.key i\.{mark} {{ background: (var\([\w-]+\))", css)
        for name, mark in MARKS.items()
    }
    assert len(styles[kind]) == 1
    assert [name for name in styles if styles[name] == styles[kind]] == [kind]
