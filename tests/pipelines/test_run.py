"""Runs of the whole pipeline on a small series: what they leave, and that they stop, go on and repeat exactly."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.pipelines.conftest import Command, command, environment, sets

from mlfactory.common.bars import timestamps
from mlfactory.ingest.instruments import instrument
from mlfactory.ingest.params import Synthetic
from mlfactory.ingest.synthetic import generate

BARS = 5000
TINY = sets(
    [
        "regime.window_bars=300",
        "mtf.steps=[1, 5, 60]",
        "dataset.timeframes=[]",
        "dataset.n_folds=2",
        "dataset.stride=3",
        "dataset.steps=10",
        "stacking.draws=1000",
        "report.draws=1000",
        "report.shuffles=20",
        "model.lightgbm.rounds=10",
        "model.logistic.max_iterations=50",
    ]
)
STAGES = ["ingest", "regime", "mtf", "features", "labels", "dataset", "oof", "stacking", "report"]
TRAINED = ["train-boosting/lightgbm_h20", "train-classical/logistic_h20"]


def write_series(path: Path, rows: int) -> None:
    drawn = generate(Synthetic(bars=rows, seed=3), instrument("ES")).rows()
    stamps = timestamps(drawn.microsecond // 60_000_000)
    pd.DataFrame({"timestamp": stamps, **drawn.values}).to_parquet(path)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    write_series(path, BARS)
    return path


def arguments(bars: Path, out: Path) -> list[str]:
    models = ["--models", "logistic,lightgbm"]
    return ["run", "--bars", str(bars), "--symbol", "ES", *models, "--out", str(out), *TINY]


@pytest.fixture(scope="module")
def first(bars: Path, mlfactory: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run from start to end."""
    out = tmp_path_factory.mktemp("runs") / "first"
    done = mlfactory(*arguments(bars, out))
    assert done.returncode == 0, done.stdout + done.stderr
    return {"out": out, "said": done.stdout, "complained": done.stderr}


@pytest.fixture(scope="module")
def second(
    first: dict[str, Any],
    bars: Path,
    mlfactory: Command,
    scratch: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The same run in another folder: stopped with Ctrl-C after the labels, and gone on with."""
    out = tmp_path_factory.mktemp("runs") / "second"
    words = arguments(bars, out)
    child = subprocess.Popen(
        command(*words), env=environment(scratch), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("labels "):
            child.send_signal(signal.SIGINT)
            break
    rest, complained = child.communicate(timeout=60)
    left = [path.name for path in scratch.iterdir()]
    stopped = {"code": child.returncode, "complained": complained, "rest": rest, "left": left}
    done = mlfactory("run", "--out", out, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    return {"out": out, "said": done.stdout, "stopped": stopped}


def lines(said: str) -> dict[str, str]:
    """Map each stage that ended to the rest of its line."""
    found = (line.partition(" ") for line in said.splitlines())
    return {name: rest.strip() for name, _, rest in found if name in (*STAGES, *TRAINED)}


def cached(said: str) -> set[str]:
    return {name for name, rest in lines(said).items() if rest.startswith("cached")}


@pytest.fixture
def resumed(second: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The second run, whose configuration is afterwards what it was."""
    config = second["out"] / "config.yaml"
    kept = config.read_bytes()
    yield second
    config.write_bytes(kept)


def test_every_stage_and_model_has_a_line_with_counts_time_and_memory(first: dict[str, Any]) -> None:
    found = lines(first["said"])
    assert set(found) == {*STAGES, *TRAINED}
    for rest in found.values():
        seconds, unit, mebibytes, size, *counts = rest.split()
        assert float(seconds) >= 0
        assert (unit, size) == ("s", "MiB")
        assert float(mebibytes) > 10
        assert any(character.isdigit() for character in " ".join(counts))


def test_nothing_but_progress_reaches_the_terminal(first: dict[str, Any]) -> None:
    assert first["complained"] == ""
    assert "Warning" not in first["said"]
    assert "kfp" not in first["said"]


def test_the_leaderboard_names_every_model_and_the_ensemble(first: dict[str, Any]) -> None:
    table = first["said"].partition("log loss")[2]
    for name in ("lightgbm", "logistic", "meta_ridge", "prior", "always_flat"):
        assert f"  {name} " in table


def test_the_configuration_is_printed_and_saved(first: dict[str, Any]) -> None:
    saved = (first["out"] / "config.yaml").read_text()
    assert "n_folds: 2" in saved
    assert saved in first["said"]


def test_a_run_leaves_report_models_times_hashes_ledger_and_log(first: dict[str, Any]) -> None:
    out = first["out"]
    assert {path.name for path in out.iterdir()} == {
        "artifacts.json",
        "config.yaml",
        "ledger.jsonl",
        "models",
        "report.html",
        "report.json",
        "root",
        "run.log",
        "timings.json",
    }
    assert {path.name for path in (out / "models").iterdir()} == {"ensemble", "lightgbm_h20", "logistic_h20"}
    assert len((out / "ledger.jsonl").read_text().splitlines()) == 1


def test_the_report_shows_time_and_memory_that_the_artifact_does_not_hold(first: dict[str, Any]) -> None:
    page = (first["out"] / "report.html").read_text()
    artifact = next(first["out"].glob("root/ml-factory-*/report/report/report.html")).read_text()
    assert "train-boosting/lightgbm_h20" in page
    assert "peak MiB" in page
    assert "peak MiB" not in artifact
    assert page.replace(page[page.index("<table class='resources'>") :], "") in artifact


def test_the_times_of_every_task_are_kept(first: dict[str, Any]) -> None:
    times = json.loads((first["out"] / "timings.json").read_text())
    assert set(times["tasks"]) == {*STAGES, *TRAINED}
    assert times["total"]["seconds"] > sum(task["seconds"] for task in times["tasks"].values()) / 2


def test_models_can_be_read_back(first: dict[str, Any]) -> None:
    from mlfactory.models.registry import load_model

    for name in ("lightgbm", "logistic"):
        folders = [path.parent for path in (first["out"] / "models" / f"{name}_h20").rglob("settings.json")]
        assert len(folders) == 1
        load_model(name).load(folders[0])


def test_every_artifact_but_the_times_is_hashed(first: dict[str, Any]) -> None:
    names = set(json.loads((first["out"] / "artifacts.json").read_text()))
    assert {"ingest/bars", "dataset/index", "report/report", "train-boosting/lightgbm_h20/model"} <= names
    assert not any("timings" in name for name in names)


def test_no_temporary_file_is_left_behind(first: dict[str, Any], scratch: Path) -> None:
    assert list(scratch.iterdir()) == []


def test_ctrl_c_ends_the_run_at_once_and_says_how_to_go_on(second: dict[str, Any]) -> None:
    stopped = second["stopped"]
    assert stopped["code"] == 130
    assert stopped["complained"].splitlines() == [
        f"stopped; go on with: mlfactory run --out {second['out']} --resume"
    ]
    assert "report" not in lines(stopped["rest"])
    assert stopped["left"] == []


def test_resume_does_not_repeat_what_had_ended(second: dict[str, Any]) -> None:
    done = cached(second["said"])
    assert {"ingest", "labels"} <= done
    assert "report" not in done


def test_the_same_input_and_seed_give_the_same_bytes_of_every_artifact(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    hashes = [json.loads((run["out"] / "artifacts.json").read_text()) for run in (first, second)]
    assert hashes[0] == hashes[1]


def test_resuming_a_run_that_has_ended_repeats_nothing(first: dict[str, Any], mlfactory: Command) -> None:
    before = (first["out"] / "artifacts.json").read_text()
    done = mlfactory("run", "--out", first["out"], "--resume")
    assert done.returncode == 0, done.stderr
    assert cached(done.stdout) == {*STAGES, *TRAINED}
    assert (first["out"] / "artifacts.json").read_text() == before
    assert len((first["out"] / "ledger.jsonl").read_text().splitlines()) == 1


def test_a_changed_parameter_repeats_its_stage_and_those_after_it_alone(
    first: dict[str, Any], mlfactory: Command
) -> None:
    done = mlfactory("run", "--out", first["out"], "--resume", "--set", "report.shuffles=30")
    assert done.returncode == 0, done.stderr
    assert cached(done.stdout) == {*STAGES, *TRAINED} - {"report"}


def test_a_failing_stage_is_named_with_its_last_lines_and_the_log(
    first: dict[str, Any], mlfactory: Command, tmp_path: Path
) -> None:
    (tmp_path / "planted.py").write_text(
        "from mlfactory.features.registry import feature\n\n\n"
        '@feature({"planted": 1}, unit="1")\n'
        "def planted(segment):\n"
        '    """Fail."""\n'
        '    raise ZeroDivisionError("planted on purpose")\n'
    )
    models = ("--models", "logistic,lightgbm")
    words = ("run", "--out", first["out"], "--resume", *models, "--set", "features.levels=false")
    done = mlfactory(*words, MLF_FEATURE_GROUPS=str(tmp_path))
    assert done.returncode == 1
    first_line, *rest = done.stderr.splitlines()
    assert first_line == "error: features failed; its last lines:"
    assert "ZeroDivisionError: planted on purpose" in rest[-2]
    assert rest[-1] == f"log: {first['out'] / 'run.log'}"
    assert "planted on purpose" in (first["out"] / "run.log").read_text()


def test_input_that_a_stage_refuses_is_one_line_and_finished_work_stays(
    first: dict[str, Any], mlfactory: Command
) -> None:
    models = ("--models", "logistic,lightgbm")
    words = ("run", "--out", first["out"], "--resume", *models, "--set", "dataset.embargo_bars=100000")
    done = mlfactory(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert (first["out"] / "report.html").is_file()


def test_input_that_a_stage_refuses_leaves_no_folder_behind(
    bars: Path, mlfactory: Command, tmp_path: Path
) -> None:
    negative = tmp_path / "negative.parquet"
    frame = pd.read_parquet(bars)
    frame[["open", "high", "low", "close"]] *= -1
    frame.to_parquet(negative)
    done = mlfactory("run", "--bars", negative, "--symbol", "ES", "--out", tmp_path / "out", *TINY)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_changed_file_is_read_again(
    bars: Path, second: dict[str, Any], scratch: Path, tmp_path: Path
) -> None:
    shutil.copy(bars, tmp_path)
    try:
        write_series(bars, BARS - 7)
        child = subprocess.Popen(
            command("run", "--out", second["out"], "--resume"),
            env=environment(scratch),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert child.stdout is not None
        line = next(line for line in child.stdout if line.startswith("ingest "))
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    finally:
        shutil.copy(tmp_path / bars.name, bars)
    assert "cached" not in line
    assert f"{BARS - 7:,} bars" in line


def test_a_model_whose_fit_fails_is_reported_and_the_others_go_on(
    resumed: dict[str, Any], mlfactory: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "classical"
    folder.mkdir()
    (folder / "broken.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from mlfactory.models.protocol import Model\n\n\n"
        "@dataclass\n"
        "class Broken(Model):\n"
        '    """Fails."""\n\n'
        '    source: ClassVar[str] = "none"\n\n'
        "    def fit(self, X, y, weight, validation=None):\n"
        '        raise ArithmeticError("no minimum")\n\n'
        "    def predict_proba(self, X):\n        raise NotImplementedError\n\n"
        "    def write(self, folder):\n        raise NotImplementedError\n\n"
        "    def read(self, folder):\n        raise NotImplementedError\n\n\n"
        "MODEL = Broken\n"
    )
    models = "logistic,lightgbm,broken"
    done = mlfactory("run", "--out", resumed["out"], "--resume", "--models", models, MLF_MODELS=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: model broken_h20 failed: ArithmeticError: no minimum"]
    assert TRAINED[0] in cached(done.stdout)  # logistic is of the family whose files have changed
    assert "  broken " in done.stdout.partition("log loss")[2]


def test_an_audit_is_one_more_step_and_what_it_catches_ends_the_run_with_1(
    resumed: dict[str, Any], mlfactory: Command, tmp_path: Path
) -> None:
    (tmp_path / "planted.py").write_text(
        "import numpy as np\n"
        "from mlfactory.features.registry import feature\n\n\n"
        '@feature({"peek": 1}, unit="ratio")\n'
        "def peek(x):\n"
        '    """The next bar\'s close."""\n'
        "    return np.roll(x.close, -1) / x.close\n"
    )
    asked = ["--set", "audit.enabled=true"]
    done = mlfactory("run", "--out", resumed["out"], "--resume", *asked, MLF_FEATURE_GROUPS=str(tmp_path))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("error: audit: failed: features.peek: sees the future: the row of ")
    assert cached(done.stdout) == {"ingest", "regime", "mtf", "labels"}
    assert re.search(r"^audit .* 1 failed, .*; failed: peek$", done.stdout, re.MULTILINE)
    assert "1 column breaks causality." in (resumed["out"] / "audit.html").read_text(encoding="utf-8")


def test_a_model_and_a_combiner_of_ones_own_are_a_file_each(
    resumed: dict[str, Any], mlfactory: Command, tmp_path: Path
) -> None:
    """Listed, compiled into the pipeline, trained, stacked, reported and saved, with no other change."""
    own = {"MLF_MODELS": str(Path(__file__).parents[1] / "support" / "one_more_model")}
    listed = {model["name"]: model for model in json.loads(mlfactory("models", "--json", **own).stdout)}
    without = json.loads(mlfactory("models", "--json").stdout)
    assert len(listed) == len(without) + 2
    assert listed["nearest_centroid"]["family"] == "classical"
    chosen = ["--models", "logistic,nearest_centroid", "--set", "model.nearest_centroid.sharpness=0.2"]
    chosen += ["--set", "stacking.combiners=[voting, median_vote]"]
    compiled = mlfactory("compile", "-o", tmp_path / "training.yaml", *chosen, **own)
    assert compiled.returncode == 0, compiled.stderr
    text = " ".join((tmp_path / "training.yaml").read_text().split())
    assert '"model": "nearest_centroid", "params": {"sharpness": 0.2}' in text

    done = mlfactory("run", "--out", resumed["out"], "--resume", *chosen, **own)
    assert done.returncode == 0, done.stdout + done.stderr
    out = resumed["out"]
    document = json.loads((out / "report.json").read_text())
    ranked = {row["model"] for row in document["leaderboard"]}
    assert {"logistic", "nearest_centroid", "voting", "median_vote"} <= ranked
    saved = {path.name for path in (out / "models").rglob("*") if path.is_dir()}
    assert {"nearest_centroid_h20", "median_vote_h20"} <= saved
    contract = json.loads((out / "models" / "ensemble" / "contract.json").read_text())
    assert contract["horizons"]["20"]["models"] == ["logistic", "nearest_centroid"]


def test_a_run_whose_command_is_killed_leaves_no_process_behind(
    bars: Path, scratch: Path, tmp_path: Path
) -> None:
    child = subprocess.Popen(
        command(*arguments(bars, tmp_path / "out")),
        env=environment(scratch),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    next(line for line in child.stdout if line.startswith("ingest "))
    child.kill()
    child.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while (found := mentioning(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == []
    for path in scratch.iterdir():
        shutil.rmtree(path)


def mentioning(text: str) -> list[str]:
    """Processes whose command line or working files name ``text``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                said = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in said:
                found.append(said.decode(errors="replace"))
    return found
