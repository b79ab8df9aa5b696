"""The training loop of all networks: resident table, batches by gather, early stopping, best epoch, checkpoints."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlfactory.common.bars import Floats
from mlfactory.common.stage import note, progress
from mlfactory.models.batches import Batches
from mlfactory.models.checkpoint import Slot
from mlfactory.models.protocol import N_CLASSES, Classes, Sample
from mlfactory.models.sequence import AnyWindows

PREDICT_ROWS: Final = 2048
"""windows that are predicted at once"""
EXPLAINED_ROWS: Final = 2048
"""windows, evenly over the training rows, whose mean explanation a fit keeps"""
_WARM_UP = 0.05  # share of all steps
_DIGITS: Final = 6


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    epochs: int
    patience: int
    batch_rows: int
    learning_rate: float
    weight_decay: float
    clip: float
    seed: int
    task: str
    accelerator: bool
    class_weight: Literal["none", "balanced"] = "none"
    deterministic: bool = True
    compiled: bool = False
    axis: bool = False
    """give windows of rows an axis of one timeframe"""
    checkpoint: Slot | None = None


@dataclass(frozen=True)
class Fitted:
    """A trained network, on the CPU and in evaluation mode."""

    network: nn.Module
    best_epoch: int
    """0 where no epoch was better than predicting the class frequencies"""
    inner_log_losses: list[float]
    batch_rows: int
    """rows per step; fewer than asked for where memory did not suffice"""
    explanation: dict[str, list[float]] | None


@dataclass(frozen=True)
class _Data:
    """Windows, classes and weights on the device."""

    batches: Batches
    labels: Tensor
    weights: Tensor
    returns: Tensor | None = None
    """net returns in units of their standard deviation"""

    @classmethod
    def of(
        cls,
        sample: Sample,
        device: torch.device,
        recipe: Recipe,
        *,
        table: Tensor | None = None,
        returns: Any = None,
    ) -> "_Data":
        weight = sample.weight / sample.weight.mean()
        if recipe.class_weight == "balanced":
            weight = weight * balance(sample.y, weight)[sample.y]
        scaled = None
        if returns is not None:
            spread = float(np.std(returns))
            scaled = torch.from_numpy((returns / (spread or 1.0)).astype(np.float32)).to(device)
        return cls(
            Batches(sample.X, device, table, axis=recipe.axis),
            torch.from_numpy(sample.y.astype(np.int64)).to(device),
            torch.from_numpy(weight.astype(np.float32)).to(device),
            scaled,
        )

    def __call__(self, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gather windows by their numbers, shape (b,), with their classes and weights."""
        return (
            self.batches.gather(which),
            self.labels.index_select(0, which),
            self.weights.index_select(0, which),
        )


def train(
    build: Callable[[], nn.Module],
    sample: Sample,
    validation: Sample | None,
    recipe: Recipe,
    returns: Floats | None = None,
) -> Fitted:
    """Minimise the weighted log loss; stop early and restore the best epoch by the loss on ``validation``.

    The head starts at the class frequencies, and that state counts as epoch 0: a network that learns nothing
    of use predicts the frequencies. Without ``validation`` all epochs are run and the last one is kept. Where
    memory does not suffice, training begins anew with half the batch, and says so.

    Args:
        build: makes the untrained network.
        sample: training rows.
        validation: rows for early stopping.
        recipe: how.
        returns: shape (rows,); net returns, for networks with an ``auxiliary_loss``.

    Raises:
        FloatingPointError: the loss diverged and there are no validation rows to fall back on.
    """
    while True:
        try:
            return _train(build, sample, validation, recipe, returns)
        except RuntimeError as error:
            if not out_of_memory(error) or recipe.batch_rows == 1:
                raise
            halved = recipe.batch_rows // 2
            note(
                f"{recipe.task}: memory does not suffice for {recipe.batch_rows} windows a step; going on with {halved}"
            )
            recipe = replace(recipe, batch_rows=halved)


def _train(
    build: Callable[[], nn.Module],
    sample: Sample,
    validation: Sample | None,
    recipe: Recipe,
    returns: Floats | None,
) -> Fitted:
    device = choose_device(recipe.accelerator)
    with reproducible(recipe.seed, device, deterministic=recipe.deterministic):
        network = build()
        start_at_frequencies(network, sample.y, sample.weight)
        network.to(device)
        data = _Data.of(sample, device, recipe, returns=returns)
        inner = None
        if validation is not None:
            shared = data.batches.table if validation.X.table is sample.X.table else None
            inner = _Data.of(validation, device, replace(recipe, class_weight="none"), table=shared)
        run = _Run(network, data, inner, recipe)
        run.resume()
        while not run.done:
            run.epoch()
        if recipe.checkpoint is not None:
            recipe.checkpoint.remove()
        return run.fitted()


class _Run:
    """One training run: everything that a checkpoint has to hold."""

    def __init__(self, network: nn.Module, data: _Data, inner: _Data | None, recipe: Recipe) -> None:
        self.network, self.data, self.inner, self.recipe = network, data, inner, recipe
        device = data.labels.device
        self.parameters = list(network.parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.order = torch.Generator().manual_seed(recipe.seed)
        self.steps = math.ceil(len(data.batches) / recipe.batch_rows)
        self.taken, self.done = 0, False
        self.keeper = _Keeper(network, recipe.patience)
        self.forward = compiled(network) if recipe.compiled else network
        self.auxiliary = getattr(network, "auxiliary_loss", None) if data.returns is not None else None
        self._device = device

    def epoch(self) -> None:
        """Train one epoch, judge it and leave a checkpoint."""
        number, started = self.taken + 1, time.perf_counter()
        self.network.train()
        shuffled = torch.randperm(len(self.data.batches), generator=self.order).to(self._device)
        for step, which in enumerate(
            torch.split(shuffled, self.recipe.batch_rows), start=self.taken * self.steps
        ):
            self._step(step, which)
        self._wait()
        speed = len(shuffled) / (time.perf_counter() - started)
        self.taken = number
        stop = self.keeper.stop_after(number, self._inner_loss())
        progress(f"{self.recipe.task}: {speed:,.0f} samples/s, epoch", number, self.recipe.epochs)
        self.done = stop or number == self.recipe.epochs
        if self.recipe.checkpoint is not None and not self.done:
            self._save(self.recipe.checkpoint)

    def _step(self, step: int, which: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * rate(step, self.steps * self.recipe.epochs)
        for parameter in self.parameters:
            parameter.grad = None
        windows, labels, weights = self.data(which)
        with _precision(self._device):
            scores = self.forward(windows)
        loss = log_loss(scores, labels, weights)
        if self.auxiliary is not None and self.data.returns is not None:
            loss = loss + self.auxiliary(self.data.returns.index_select(0, which))
        torch.autograd.backward(loss)
        clip(self.parameters, self.recipe.clip)
        self.optimiser.step()

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _inner_loss(self) -> float | None:
        if self.inner is None:
            return None
        self.network.eval()
        scores = score(self.network, self.inner.batches)
        return float(log_loss(scores, self.inner.labels, self.inner.weights).item())

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one of this run."""
        found = None if self.recipe.checkpoint is None else self.recipe.checkpoint.read()
        if found is None or found[1].get("batch_rows") != self.recipe.batch_rows:
            first = self._inner_loss()
            self.keeper.begin(first)
            return
        arrays, facts = found
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.network.load_state_dict(_under("network", tensors))
        self._load_optimiser(_under("optimiser", tensors))
        self.keeper.load(_under("best", tensors), facts["best_epoch"], tensors["losses"].tolist())
        self.order.set_state(tensors["order"])
        torch.random.set_rng_state(tensors["random"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda"], self._device)
        self.taken = facts["epoch"]
        note(f"{self.recipe.task}: going on after epoch {self.taken} of {self.recipe.epochs}")

    def _save(self, slot: Slot) -> None:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.keeper.state.items()}
        for number, held in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in held.items()}
        tensors["losses"] = torch.tensor(self.keeper.losses, dtype=torch.float64)
        tensors["order"], tensors["random"] = self.order.get_state(), torch.random.get_rng_state()
        if self._device.type == "cuda":
            tensors["cuda"] = torch.cuda.get_rng_state(self._device)
        facts = {
            "epoch": self.taken,
            "best_epoch": self.keeper.best_epoch,
            "batch_rows": self.recipe.batch_rows,
        }
        slot.write({name: value.detach().cpu().numpy() for name, value in tensors.items()}, facts)

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})

    def fitted(self) -> Fitted:
        """Restore the best epoch and explain it."""
        self.keeper.restore()
        self.network.eval()
        explanation = explain(self.network, self.data.batches)
        return Fitted(
            self.network.cpu(),
            self.keeper.best_epoch,
            self.keeper.losses,
            self.recipe.batch_rows,
            explanation,
        )


def predict(
    network: nn.Module, windows: AnyWindows, accelerator: bool = False, *, axis: bool = False
) -> Floats:
    """Class probabilities of windows, float64 (windows, 3), in full precision on any device."""
    device = choose_device(accelerator)
    with reproducible(0, device):
        batches = Batches(windows, device, axis=axis)
        out = score(network.to(device).eval(), batches).double().softmax(dim=1)
        network.to("cpu")
        return out.cpu().numpy()


def score(network: nn.Module, batches: Batches) -> Tensor:
    """Scores of all windows, (windows, 3); the windows at once are halved where memory does not suffice."""
    rows = PREDICT_ROWS
    while True:
        try:
            return _score(network, batches, rows)
        except RuntimeError as error:
            if not out_of_memory(error) or rows == 1:
                raise
            rows //= 2


def _score(network: nn.Module, batches: Batches, rows: int) -> Tensor:
    every = torch.arange(len(batches), device=batches.first.device)
    with torch.no_grad():
        parts = [network(batches.gather(which)) for which in torch.split(every, rows)]
    return torch.cat(parts) if len(batches) else torch.zeros((0, N_CLASSES), device=batches.first.device)


def explain(network: nn.Module, batches: Batches) -> dict[str, list[float]] | None:
    """Mean of what ``network.explain`` says of windows spread over the training rows; None without the method."""
    told = getattr(network, "explain", None)
    if told is None:
        return None
    count = min(EXPLAINED_ROWS, len(batches))
    spread = torch.linspace(0, len(batches) - 1, count, dtype=torch.float64).round().long()
    total: dict[str, Tensor] = {}
    with torch.no_grad():
        for which in torch.split(spread.to(batches.first.device), PREDICT_ROWS // 4):
            for name, values in told(batches.gather(which)).items():
                total[name] = total.get(name, 0) + values.double().sum(dim=0)
    return {name: [round(v, _DIGITS) for v in (value / count).tolist()] for name, value in total.items()}


def log_loss(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy of scores (b, 3)."""
    losses = nn.functional.cross_entropy(scores.float(), labels, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)


def clip(parameters: list[nn.Parameter], most: float) -> None:
    """Scale all gradients by one factor where their Euclidean norm exceeds ``most``.

    The bits are those of ``nn.utils.clip_grad_norm_``, which spends half its time on sorting parameters by device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp_(max=1.0))


def rate(step: int, steps: int) -> float:
    """Learning rate as a share of its highest: a linear warm-up, then half a cosine to zero."""
    warm = max(1, round(steps * _WARM_UP))
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))


def balance(y: Classes, weight: Floats) -> Floats:
    """Factor per class that gives every class that occurs the same total weight, shape (3,)."""
    counts = np.bincount(y, weights=weight, minlength=N_CLASSES)
    known = counts > 0
    share: Floats = np.divide(counts.sum() / known.sum(), counts, out=np.zeros(N_CLASSES), where=known)
    return share


def start_at_frequencies(network: nn.Module, y: Classes, weight: Floats) -> None:
    """Set the head so that the untrained network predicts the class frequencies for every row."""
    counts = np.bincount(y, weights=weight / weight.mean(), minlength=N_CLASSES) + 1.0
    head = network.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def compiled(network: nn.Module) -> Callable[..., Any]:
    """Compile the network where a compiler is at hand; else, with a note, run it as it is."""
    if torch.cuda.is_available() or shutil.which(os.environ.get("CXX", "g++")):
        return torch.compile(network, dynamic=True)
    note("compiled=True needs a C++ compiler, and none is at hand: the network runs as it is")
    return network


def choose_device(accelerator: bool) -> torch.device:
    """The GPU where one is asked for and present; else the CPU, with a note where a GPU was asked for."""
    if accelerator and not torch.cuda.is_available():
        note("a GPU was asked for, and torch finds none: the network runs on the CPU")
    return torch.device("cuda" if accelerator and torch.cuda.is_available() else "cpu")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def reproducible(seed: int, device: torch.device, *, deterministic: bool = True) -> Iterator[None]:
    """Fix the random stream, the order of sums and the algorithms; restore the caller's settings."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    # read when cuBLAS starts: without a workspace of fixed size its sums may change their order
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(deterministic or device.type == "cpu")
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32


@dataclass
class _Keeper:
    """Remembers the best epoch."""

    network: nn.Module
    patience: int
    losses: list[float] = field(default_factory=list)
    """validation loss before training and after each epoch"""
    best_epoch: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)
    """of the best epoch; empty where there are no validation rows"""

    def begin(self, loss: float | None) -> None:
        if loss is not None:
            self.losses, self.state = [loss], self._copy()

    def load(self, state: dict[str, Tensor], best_epoch: int, losses: list[float]) -> None:
        device = next(self.network.parameters()).device
        self.state = {name: value.to(device) for name, value in state.items()}
        self.best_epoch, self.losses = best_epoch, losses

    def stop_after(self, epoch: int, loss: float | None) -> bool:
        if loss is None:
            self.best_epoch = epoch
            return False
        if loss < min(self.losses):
            self.best_epoch, self.state = epoch, self._copy()
        self.losses.append(loss)
        return epoch - self.best_epoch >= self.patience

    def restore(self) -> None:
        if self.state:
            self.network.load_state_dict(self.state)
        elif not all(torch.isfinite(value).all() for value in self.network.parameters()):
            raise FloatingPointError("the loss diverged: lower learning_rate, or give validation rows")

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _precision(device: torch.device) -> AbstractContextManager[None]:
    """Half the bits on a GPU; on a CPU nothing is gained by it."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
