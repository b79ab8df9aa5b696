"""Folds side by side: the same bytes, and errors that arrive."""

import os
import signal
from collections.abc import Callable

import pytest
from toy_training import OUTPUTS, Train

from mlfactory.common.artifacts import sha256
from mlfactory.common.errors import InputError
from mlfactory.train.workers import WORKERS, ProcessDied, side_by_side, wanted


def test_results_come_in_order_from_processes_of_their_own() -> None:
    found = list(side_by_side(lambda item: (item, os.getpid()), range(5), 3))
    assert [item for item, _ in found] == list(range(5))
    assert os.getpid() not in {pid for _, pid in found}
    assert {pid for _, pid in side_by_side(lambda item: (item, os.getpid()), range(3), 1)} == {os.getpid()}


def test_an_error_of_one_item_arrives_as_it_is() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise InputError("item 2 cannot be read")
        return item

    with pytest.raises(InputError, match="item 2 cannot be read"):
        list(side_by_side(work, range(4), 2))


def test_a_killed_process_is_an_error_and_no_wait() -> None:
    with pytest.raises(ProcessDied, match="was killed: out of memory"):
        list(side_by_side(lambda item: os.kill(os.getpid(), signal.SIGKILL), range(2), 2))


@pytest.mark.parametrize("model", ["lightgbm", "logistic"])
def test_any_number_of_workers_leaves_the_same_bytes(
    model: str, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    for workers in ("1", "3"):
        monkeypatch.setenv(WORKERS, workers)
        done = train(model)
        left.append([sha256(done.folder / name) for name in OUTPUTS])
    assert left[0] == left[1]


def test_a_fit_that_is_killed_in_a_worker_is_a_failed_model(
    train: Train, extra_model: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra_model("killed", "import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv(WORKERS, "2")
    fit = train("killed").fit
    assert fit["status"] == "failed"
    assert fit["error"]["type"] == "ProcessDied"


@pytest.mark.parametrize("text", ["0", "-1", "two"])
def test_a_number_of_workers_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKERS, text)
    with pytest.raises(InputError, match=f"{WORKERS} is '{text}'"):
        wanted()
