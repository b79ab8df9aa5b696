"""A training run survives being killed, short memory and a missing GPU, and tells what it did."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy_models import problem, toy

from mlfactory.common.artifacts import sha256
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import MultiResolutionDataset
from mlfactory.common.windows import Windows
from mlfactory.models import loop
from mlfactory.models.batches import Batches
from mlfactory.models.checkpoint import Checkpoints, Slot
from mlfactory.models.memory import MIB, refuse_excess
from mlfactory.models.protocol import Context, Sample, context
from mlfactory.models.registry import load_model, models
from mlfactory.models.transformer.tft import TFT

CPU = torch.device("cpu")
NETWORKS = [name for name, info in models().items() if info.input != "tabular"]
FOUR_D = [name for name, info in models().items() if info.input == "multi_resolution"]


def bars(rows: int = 300, timeframes: int = 3, steps: int = 5) -> MultiResolutionDataset:
    """Log prices of several timeframes one below the other, and windows that end at different rows of each."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(rows * timeframes, 5)).astype(np.float32).cumsum(axis=0) / 100
    ends = np.stack([k * rows + rng.integers(steps - 1, rows, 120) for k in range(timeframes)], axis=1)
    scale = rng.uniform(0.5, 2, ends.shape).astype(np.float32)
    return MultiResolutionDataset(table, ends.astype(np.int32), scale, steps, (5, 15, 60)[:timeframes])


def fit(name: str, slot: Slot | None, **changes: Any) -> Any:
    data = problem(load_model(name))
    token = context.set(Context("toy", checkpoint=slot))
    try:
        return load_model(name)(**toy(name, **changes)).fit(*data.train, validation=data.inner)
    finally:
        context.reset(token)


# --- batches -------------------------------------------------------------------------------------------------


def test_a_batch_of_several_timeframes_is_the_windows_it_names() -> None:
    data, which = bars(), np.array([7, 0, 99, 7])
    got = Batches(data, CPU).gather(torch.from_numpy(which))
    assert got.shape == (4, 3, 5, 5)
    np.testing.assert_array_equal(got.numpy(), data.gather(which))


def test_windows_of_rows_are_one_timeframe_where_that_axis_is_asked_for() -> None:
    windows = Windows(np.arange(60, dtype=np.float32).reshape(20, 3), np.array([4, 9]), 4)
    which = torch.tensor([1, 0])
    three, four = Batches(windows, CPU).gather(which), Batches(windows, CPU, axis=True).gather(which)
    assert torch.equal(four, three[:, None])


def test_batches_share_one_buffer_and_a_shorter_one_fits_into_it() -> None:
    batches = Batches(bars(), CPU)
    first = batches.gather(torch.arange(10))
    second = batches.gather(torch.arange(4))
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize("name", FOUR_D)
def test_a_model_of_several_timeframes_is_saved_with_their_number(name: str, tmp_path: Path) -> None:
    data = bars()
    y = (np.arange(len(data)) % 3).astype(np.int8)
    extra = {"returns": np.linspace(-1, 1, len(data))} if load_model(name).uses_returns else {}
    model = load_model(name)(**toy(name, epochs=1)).fit(data, y, np.ones(len(data)), **extra)
    model.save(tmp_path / "m")
    loaded = load_model(name).load(tmp_path / "m")
    assert loaded.timeframes_ == 3
    np.testing.assert_array_equal(loaded.predict_proba(data), model.predict_proba(data))
    fewer = replace(data, ends=data.ends[:, :2], scale=data.scale[:, :2], timeframes=data.timeframes[:2])
    with pytest.raises(InputError, match="windows of 2 timeframes; the model was fitted on 3"):
        loaded.predict_proba(fewer)


# --- checkpoints ---------------------------------------------------------------------------------------------


def killed_after(epochs: int, name: str, slot: Slot) -> None:
    """Train in a child process that is killed without warning after its n-th checkpoint."""

    def work() -> None:
        written, write = [], Slot.write

        def counted(self: Slot, *given: Any) -> None:
            write(self, *given)
            written.append(1)
            if len(written) == epochs:
                os.kill(os.getpid(), signal.SIGKILL)

        Slot.write = counted  # type: ignore[method-assign]
        fit(name, slot)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["lstm", "resnet1d", "tft"])
def test_a_killed_fit_goes_on_to_the_bytes_of_one_that_was_not(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot = Slot(str(tmp_path / "kept" / "fit.safetensors"))
    killed_after(2, name, slot)
    fit(name, slot).save(tmp_path / "resumed")
    assert "going on after epoch 2 of" in capsys.readouterr().out
    fit(name, None).save(tmp_path / "whole")
    assert sha256(tmp_path / "resumed") == sha256(tmp_path / "whole")
    assert not list((tmp_path / "kept").iterdir())  # nothing is left of a fit that ended


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04cposix\nsystem\n.", b"\x10" + b"\0" * 7 + b'{"a": "b"}      ']
)
def test_a_damaged_checkpoint_is_not_used_and_said(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fit.safetensors"
    file.write_bytes(content)
    fit("lstm", Slot(str(file))).save(tmp_path / "resumed")
    assert "cannot be used" in capsys.readouterr().out
    fit("lstm", None).save(tmp_path / "whole")
    assert sha256(tmp_path / "resumed") == sha256(tmp_path / "whole")


def test_checkpoints_live_in_any_store_under_the_hash_of_their_inputs() -> None:
    kept = Checkpoints("memory://bucket/runs", "0123")
    kept.check()
    slot = kept.slot("fold-0")
    assert slot.uri == "memory://bucket/runs/0123/fold-0.safetensors"
    assert slot.read() is None
    slot.write({"row": np.arange(3)}, {"fold": 0, "loss": None})
    found = slot.read()
    assert found is not None
    np.testing.assert_array_equal(found[0]["row"], [0, 1, 2])
    assert found[1] == {"fold": 0, "loss": None}
    kept.clear()
    assert slot.read() is None


def test_a_place_that_cannot_be_written_to_is_refused_before_work_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"checkpoint_uri .*file.* cannot be written to"):
        Checkpoints(str(tmp_path / "file"), "key").check()


# --- memory --------------------------------------------------------------------------------------------------


class Hungry(nn.Module):
    """Has memory for a few windows only."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.head, self.most = nn.Linear(6, 3), most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        scores: torch.Tensor = self.head(x[:, -1])
        return scores


RECIPE = loop.Recipe(2, 2, 64, 1e-2, 0.0, 1.0, 0, "toy", accelerator=False)


def test_short_memory_halves_the_batch_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    data = problem(load_model("lstm"))
    fitted = loop.train(lambda: Hungry(20), data.train, None, RECIPE)
    assert fitted.batch_rows == 16
    out = capsys.readouterr().out
    assert "memory does not suffice for 64 windows a step; going on with 32" in out
    assert "going on with 16" in out
    plain = loop.train(lambda: Hungry(10**9), data.train, None, replace(RECIPE, batch_rows=16))
    assert torch.equal(plain.network.head.weight, fitted.network.head.weight)


def test_no_memory_for_one_window_and_every_other_error_is_passed_on() -> None:
    data = problem(load_model("lstm"))
    with pytest.raises(RuntimeError, match="can't allocate"):
        loop.train(lambda: Hungry(0), data.train, None, RECIPE)

    class Broken(Hungry):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("another error")

    with pytest.raises(RuntimeError, match="another error"):
        loop.train(lambda: Broken(1), data.train, None, RECIPE)


def test_an_excess_is_refused_with_its_parts_the_limit_and_a_remedy() -> None:
    refuse_excess("a fit", {"table": 2 * MIB}, 2 * MIB, "use fewer rows")
    message = (
        r"a fit needs about 3 MiB \(table 2 MiB, activations 1 MiB\); the limit is 2 MiB: use fewer rows"
    )
    with pytest.raises(MemoryError, match=message):
        refuse_excess("a fit", {"table": 2 * MIB, "activations": MIB}, 2 * MIB, "use fewer rows")


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_grow_with_the_batch_and_parameters_do_not(name: str) -> None:
    small, large = (
        load_model(name)(**toy(name, batch_rows=rows)).memory_estimate(1_000_000, 6) for rows in (64, 128)
    )
    assert small["parameters and moments"] == large["parameters and moments"] > 0
    assert large["activations of a step"] == 2 * small["activations of a step"] > 0


def test_activations_of_a_linear_layer_are_what_it_keeps() -> None:
    from mlfactory.models.footprint import of_training

    found = of_training(nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU()), (2, 4), 100)
    assert found["parameters and moments"] == 5 * 4 * (8 * 4 + 4)
    assert found["activations of a step"] == 100 * 4 * (8 + 4)  # the input and what the rectifier gave


# --- what a run says and does --------------------------------------------------------------------------------


def test_every_epoch_is_one_line_of_progress_with_its_speed(capsys: pytest.CaptureFixture[str]) -> None:
    fit("lstm", None, epochs=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "samples/s" in line]
    assert [line.rpartition("|")[2].strip() for line in lines] == ["1/2", "2/2"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_is_used_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert loop.choose_device(True) == CPU
    assert "torch finds none" in capsys.readouterr().out
    assert loop.choose_device(False) == CPU
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_never_waits_for_a_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a number from a GPU stops it until every earlier step is done."""
    steps, waits = [], []
    step = loop._Run._step

    def watched(self: Any, *given: Any) -> None:
        steps.append(1)
        with monkeypatch.context() as patched:
            for method in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
                patched.setattr(torch.Tensor, method, lambda *_, what=method: waits.append(what))
            step(self, *given)

    monkeypatch.setattr(loop._Run, "_step", watched)
    fit(name, None, epochs=1)
    assert steps
    assert waits == []


def test_balanced_classes_weigh_the_same() -> None:
    y = np.array([0, 0, 0, 2], np.int8)
    factor = loop.balance(y, np.ones(4))
    np.testing.assert_allclose(np.bincount(y, weights=factor[y], minlength=3), [2, 0, 2])
    data = problem(load_model("lstm"))
    rare = data.train._replace(y=np.where(np.arange(len(data.train.y)) % 9 == 0, 0, 2).astype(np.int8))
    plain, even = (
        load_model("lstm")(**toy("lstm", class_weight=how)).fit(*rare).predict_proba(data.test.X)[:, 0].mean()
        for how in ("none", "balanced")
    )
    assert even > plain + 0.1


def test_returns_reach_the_auxiliary_loss_and_what_matters_is_explained() -> None:
    data = problem(TFT)
    score = data.table[data.train.X.ends, 0].astype(float)
    model = TFT(**toy("tft")).fit(*data.train, validation=data.inner, returns=score)
    plain = TFT(**toy("tft")).fit(*data.train, validation=data.inner)
    assert (model.predict_proba(data.test.X) != plain.predict_proba(data.test.X)).any()
    assert model.explanation_ is not None
    weights = model.explanation_["variable weights"]
    assert sum(weights) == pytest.approx(1, abs=1e-4)
    assert int(np.argmax(weights)) == 0
    assert len(model.explanation_["attention to steps"]) == 5


def test_a_run_that_diverges_is_an_error_and_not_a_model() -> None:
    data = problem(load_model("lstm"))
    broken = Sample(data.train.X, data.train.y, data.train.weight)

    class Diverging(Hungry):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * float("nan")

    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        loop.train(lambda: Diverging(10**9), broken, None, RECIPE)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same() -> None:
    plain, fast = (fit("lstm", None, epochs=2, compiled=how) for how in (False, True))
    data = problem(load_model("lstm"))
    np.testing.assert_allclose(fast.predict_proba(data.test.X), plain.predict_proba(data.test.X), atol=1e-4)


def test_a_caller_that_allows_less_precision_does_not_get_it_here() -> None:
    settings = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = True
        with loop.reproducible(0, CPU):
            assert [setting.allow_tf32 for setting in settings] == [False, False]
        assert [setting.allow_tf32 for setting in settings] == [True, True]
    finally:
        for setting, allowed in zip(settings, before, strict=True):
            setting.allow_tf32 = allowed


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_predict_the_same_on_cpu_and_gpu(name: str, tmp_path: Path) -> None:
    """Saved on the CPU, read and asked on a GPU; with windows of several timeframes where the model reads them."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    kind, data = load_model(name), problem(load_model(name))
    cases = [(fit(name, None), data.test.X)]
    if name in FOUR_D:
        y = (np.arange(len(bars())) % 3).astype(np.int8)
        extra = {"returns": np.linspace(-1, 1, len(y))} if kind.uses_returns else {}
        cases.append((kind(**toy(name)).fit(bars(), y, np.ones(len(y)), **extra), bars()))
    for number, (model, asked) in enumerate(cases):
        model.save(tmp_path / str(number))
        on_cpu = model.predict_proba(asked)
        token = context.set(Context(accelerator=True))
        try:
            on_gpu = kind.load(tmp_path / str(number)).predict_proba(asked)
        finally:
            context.reset(token)
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=0, atol=1e-4)
        assert np.ptp(on_cpu, axis=0).max() > 1e-3  # the rows differ, or nothing is compared
