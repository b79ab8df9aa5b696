"""The page of feature columns is what the registry declares, and stale when a declaration changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlfactory.features import registry
from mlfactory_pipelines import cli, feature_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "features.md"


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == feature_page.page(), "run `make docs`"


def test_the_page_names_every_column() -> None:
    text = PAGE.read_text(encoding="utf-8")
    listed = feature_page.rows(())
    assert len(listed) > 400
    for row in listed:
        name, _, step = row["name"].rpartition("_")
        shown = f"{name}_<step>m" if row["group"] == "mtf" else row["name"]
        assert f"| `{shown}` | " in text
        if row["group"] == "mtf":
            multiple, rest = divmod(row["lookback"], int(step.removesuffix("m")))
            assert rest == 0
            assert f"| `{shown}` | {multiple} x step |" in text


def test_a_changed_declaration_makes_the_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    load = registry.load

    def changed(folders: object = None) -> list[registry.Feature]:
        first, *rest = load(())
        return [replace(first, unit="furlongs"), *rest]

    monkeypatch.setattr(registry, "load", changed)
    assert "| furlongs |" in feature_page.page()
    assert PAGE.read_text(encoding="utf-8") != feature_page.page()


def test_the_command_prints_one_format() -> None:
    as_json = CliRunner().invoke(cli.app, ["features", "--json"])
    rows = json.loads(as_json.stdout)
    assert {"name", "lookback", "unit", "source"} <= rows[0].keys()
    assert "hmm_state" in {row["name"] for row in rows}
    page = CliRunner().invoke(cli.app, ["features", "--markdown"])
    assert page.stdout == PAGE.read_text(encoding="utf-8")
    both = CliRunner().invoke(cli.app, ["features", "--markdown", "--json"])
    assert str(both.exception) == "--json and --markdown are two formats: give one of them"
