"""The training loop of all networks: resident table, batches by gather, early stopping, best epoch."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlfactory.common.bars import Floats
from mlfactory.common.stage import progress
from mlfactory.common.windows import Windows
from mlfactory.models.protocol import N_CLASSES, Classes, Sample

_PREDICT_ROWS = 2048
_WARM_UP = 0.05  # share of all steps


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


@dataclass(frozen=True)
class Fitted:
    """A trained network, on the CPU and in evaluation mode."""

    network: nn.Module
    best_epoch: int
    """0 where no epoch was better than predicting the class frequencies"""
    inner_log_losses: list[float]


class Batches:
    """Windows of a table that is resident on the device."""

    def __init__(self, windows: Windows, device: torch.device, table: Tensor | None = None) -> None:
        """Move the table to ``device``, or share ``table`` where it is there already."""
        values = np.require(windows.table, np.float32, ["C", "W"])
        self.table = torch.from_numpy(values).to(device) if table is None else table
        self.first = torch.from_numpy(windows.first).to(device)
        self.steps = windows.steps
        rows, self.features = self.table.shape
        # overlapping view in which a window is one contiguous row: a gather is a plain copy
        shape = (rows - self.steps + 1, self.steps * self.features)
        self._flat = self.table.as_strided(shape, (self.features, 1))

    def __len__(self) -> int:
        return len(self.first)

    def gather(self, which: Tensor) -> Tensor:
        """Copy windows: positions (b,) to values (b, steps, features)."""
        return self._flat.index_select(0, self.first[which]).view(len(which), self.steps, self.features)


def train(
    build: Callable[[], nn.Module], sample: Sample, validation: Sample | None, recipe: Recipe
) -> Fitted:
    """Minimise the weighted log loss; stop early and restore the best epoch by the loss on ``validation``.

    The head starts at the class frequencies, and that state counts as epoch 0: a network that learns nothing
    of use predicts the frequencies. Without ``validation`` all epochs are run and the last one is kept.
    """
    device = choose_device(recipe.accelerator)
    with reproducible(recipe.seed, device):
        network = build()
        start_at_frequencies(network, sample.y, sample.weight)
        network.to(device)
        batches = Batches(sample.X, device)
        labels, weights = _targets(sample, device)
        inner = None
        if validation is not None:
            shared = batches.table if validation.X.table is sample.X.table else None
            inner = (Batches(validation.X, device, shared), *_targets(validation, device))
        keeper = _Keeper(network, recipe.patience, _inner_loss(network, inner))
        steps_per_epoch = math.ceil(len(batches) / recipe.batch_rows)
        optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=device.type == "cuda",
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate(step, steps_per_epoch * recipe.epochs)
        )
        order = torch.Generator().manual_seed(recipe.seed)
        for epoch in range(1, recipe.epochs + 1):
            network.train()
            shuffled = torch.randperm(len(batches), generator=order).to(device)
            for which in torch.split(shuffled, recipe.batch_rows):
                optimiser.zero_grad(set_to_none=True)
                with _precision(device):
                    scores = network(batches.gather(which))
                torch.autograd.backward(log_loss(scores, labels[which], weights[which]))
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
                optimiser.step()
                schedule.step()
            progress(f"{recipe.task}: epoch", epoch, recipe.epochs)
            if keeper.stop_after(epoch, _inner_loss(network, inner)):
                break
        return keeper.restore()


def predict(network: nn.Module, windows: Windows, accelerator: bool = False) -> Floats:
    """Class probabilities of windows, float64 (windows, 3)."""
    device = choose_device(accelerator)
    with reproducible(0, device):
        out = _scores(network.to(device).eval(), Batches(windows, device)).double().softmax(dim=1)
        network.to("cpu")
        return out.cpu().numpy()


def log_loss(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy of scores (b, 3)."""
    losses = nn.functional.cross_entropy(scores.float(), labels, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)


def rate(step: int, steps: int) -> float:
    """Learning rate as a share of its highest: a linear warm-up, then half a cosine to zero."""
    warm = max(1, round(steps * _WARM_UP))
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))


def start_at_frequencies(network: nn.Module, y: Classes, weight: Floats) -> None:
    """Set the head so that the untrained network predicts the class frequencies for every row."""
    counts = np.bincount(y, weights=weight / weight.mean(), minlength=N_CLASSES) + 1.0
    head = network.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def choose_device(accelerator: bool) -> torch.device:
    """The GPU where one is asked for and present, else the CPU."""
    return torch.device("cuda" if accelerator and torch.cuda.is_available() else "cpu")


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Fix the random stream, the order of sums and the algorithms; restore the caller's settings."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        # cuBLAS and cuDNN recurrences need a workspace setting to be deterministic; the law binds the CPU
        torch.use_deterministic_algorithms(device.type == "cpu")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)


class _Keeper:
    """Remembers the best epoch."""

    def __init__(self, network: nn.Module, patience: int, first: float | None) -> None:
        self._network, self._patience = network, patience
        self.losses = [] if first is None else [first]
        self.best_epoch, self._state = 0, self._copy()

    def stop_after(self, epoch: int, loss: float | None) -> bool:
        if loss is None:
            self.best_epoch, self._state = epoch, {}
            return False
        if loss < min(self.losses):
            self.best_epoch, self._state = epoch, self._copy()
        self.losses.append(loss)
        return epoch - self.best_epoch >= self._patience

    def restore(self) -> Fitted:
        if self._state:
            self._network.load_state_dict(self._state)
        return Fitted(self._network.cpu().eval(), self.best_epoch, self.losses)

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}


def _inner_loss(network: nn.Module, inner: tuple[Batches, Tensor, Tensor] | None) -> float | None:
    if inner is None:
        return None
    batches, labels, weights = inner
    network.eval()
    return float(log_loss(_scores(network, batches), labels, weights).item())


def _scores(network: nn.Module, batches: Batches) -> Tensor:
    every = torch.arange(len(batches), device=batches.first.device)
    with torch.no_grad():
        parts = [network(batches.gather(which)) for which in torch.split(every, _PREDICT_ROWS)]
    return torch.cat(parts) if parts else torch.zeros((0, N_CLASSES))


def _targets(sample: Sample, device: torch.device) -> tuple[Tensor, Tensor]:
    weight = sample.weight / sample.weight.mean()
    return (
        torch.from_numpy(sample.y.astype(np.int64)).to(device),
        torch.from_numpy(weight.astype(np.float32)).to(device),
    )


def _precision(device: torch.device) -> torch.autocast:
    """Half the bits on a GPU; on a CPU nothing is gained by it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
