"""The process that runs kfp.local: what it tells its parent, and what it does not believe of a runner."""

import io
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mlfactory.common.errors import InputError
from mlfactory_pipelines import run
from mlfactory_pipelines.local import Channel, Tagged, missing_outputs, task_key
from mlfactory_pipelines.progress import Display
from mlfactory_pipelines.results import failed_models, sweep


def sent(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def reader() -> tuple[Any, io.StringIO]:
    log = io.StringIO()
    return run._Reader(log, Display(Console(file=io.StringIO()), 1)), log


def test_lines_of_two_threads_are_told_apart() -> None:
    stream, here = io.StringIO(), threading.local()
    out = Tagged(Channel(stream), here)
    turn = threading.Barrier(2)

    def speak(task: str) -> None:
        here.task = task
        for number in range(20):
            turn.wait()
            out.write(f"{task} ")
            out.write(f"{number}\n")

    threads = [threading.Thread(target=speak, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = sent(stream)
    for name in ("a", "b"):
        assert [line["text"] for line in lines if line["task"] == name] == [f"{name} {n}" for n in range(20)]


def test_a_task_of_a_loop_is_named_by_its_job() -> None:
    assert (
        task_key("train-boosting", {"job": {"model": "xgboost", "horizon": 20.0}})
        == "train-boosting/xgboost_h20"
    )
    assert task_key("labels", {"bars": object()}) == "labels"


def test_an_output_that_a_runner_only_claims_is_missed(tmp_path: Path) -> None:
    (tmp_path / "bars").touch()
    component = SimpleNamespace(
        output_definitions=SimpleNamespace(artifacts=["bars", "quarantine", "timings"])
    )
    claimed = {
        "bars": SimpleNamespace(path=str(tmp_path / "bars")),
        "timings": SimpleNamespace(path=str(tmp_path / "timings")),
    }
    assert missing_outputs(component, claimed) == ["quarantine", "timings"]
    assert missing_outputs(component, {}) == ["bars", "quarantine", "timings"]


def test_what_a_library_writes_past_the_runner_goes_to_the_log() -> None:
    read, log = reader()
    for line in ("noise from C\n", '{"kind": "unheard"}\n', "[1]\n", "\x1b[31mred\x1b[0m\n"):
        read.read(line)
    assert log.getvalue() == 'kfp: noise from C\nkfp: {"kind": "unheard"}\nkfp: [1]\nkfp: red\n'


def test_the_last_lines_of_a_failure_are_the_stage_s_own() -> None:
    read, _ = reader()
    texts = [
        "    Traceback",
        "      ^^^^",
        "    ValueError: no",
        "05:06:04.506 - ERROR - Task failed",
        "-" * 80,
    ]
    for text in texts:
        read.read(json.dumps({"kind": "text", "task": "labels", "text": text}))
    read.read(
        json.dumps(
            {"kind": "end", "task": "labels", "ok": False, "cached": False, "seconds": 1, "outputs": {}}
        )
    )
    with pytest.raises(run.StageFailed) as failed:
        run._raise(read)
    assert failed.value.task == "labels"
    assert failed.value.lines == ["Traceback", "ValueError: no"]


def test_a_refusal_by_a_stage_is_the_user_s_to_mend() -> None:
    read, _ = reader()
    text = "mlfactory.common.errors.InputError: column close is negative"
    read.read(json.dumps({"kind": "text", "task": "ingest", "text": text}))
    read.read(
        json.dumps(
            {"kind": "end", "task": "ingest", "ok": False, "cached": False, "seconds": 1, "outputs": {}}
        )
    )
    with pytest.raises(InputError, match=r"^column close is negative$"):
        run._raise(read)


def test_a_process_that_dies_without_a_word_is_a_failure() -> None:
    read, _ = reader()
    read.read("Segmentation fault\n")
    with pytest.raises(run.StageFailed) as failed:
        run._raise(read)
    assert failed.value.lines == ["Segmentation fault"]


def test_tasks_that_did_not_end_are_swept_away(tmp_path: Path) -> None:
    whole = [tmp_path / "ml-factory-1" / part for part in ("labels", "for-loop-2-iteration-0/train-boosting")]
    torn = [tmp_path / "ml-factory-1" / part for part in ("mtf", "for-loop-2-iteration-1/train-boosting")]
    for folder in (*whole, *torn):
        folder.mkdir(parents=True)
        (folder / ".matrix.npy.x1").touch()
    for folder in whole:
        (folder / "executor_output.json").touch()
    (tmp_path / "inputs").mkdir()
    sweep(tmp_path)
    assert [folder.exists() for folder in (*whole, *torn)] == [True, True, False, False]
    assert (tmp_path / "inputs").exists()


def test_failed_models_are_named_with_their_error(tmp_path: Path) -> None:
    fit = tmp_path / "fit"
    fit.write_text(json.dumps({"status": "failed", "error": {"type": "MemoryError", "message": "too big"}}))
    task = run.Task({"fit": fit}, cached=False, wall_s=1.0)
    assert failed_models({"train-neural/lstm_h20": task}) == {"lstm_h20": "MemoryError: too big"}
