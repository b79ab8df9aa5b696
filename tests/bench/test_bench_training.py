"""The training loop side by side with a plain loop over a ``DataLoader``, what feeding it costs, and folds at once."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from tests.bench.conftest import LINES
from torch import nn
from torch.utils.data import DataLoader, Sampler
from toy_models import toy

from mlfactory.common.machine import cores
from mlfactory.common.windows import Windows
from mlfactory.models import loop
from mlfactory.models.protocol import Sample
from mlfactory.models.registry import load_model, models
from mlfactory.models.torch_dataset import WindowDataset
from mlfactory.train.workers import side_by_side

pytestmark = pytest.mark.slow

NETWORKS = [name for name, info in models().items() if info.input != "tabular"]
CPU = torch.device("cpu")
TABLE_ROWS = 100_000
ROUNDS = 5


class Tiny(nn.Module):
    """One hidden layer of 16: less work per window than any of the networks has."""

    def __init__(self, steps: int, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(steps * features, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(x))
        return scores


@dataclass(frozen=True)
class Task:
    """A network and what it learns from: both loops get the same."""

    build: Callable[[], nn.Module]
    sample: Sample
    recipe: loop.Recipe

    @classmethod
    def of(cls, model: Any, rows: int, *, features: int = 16, accelerator: bool = False) -> "Task":
        """Windows at random rows of a table; the sizes of the step and of the network are the model's."""
        model.features_ = features
        recipe = loop.Recipe(
            epochs=ROUNDS + 1,
            patience=1,
            batch_rows=model.batch_rows,
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            clip=model.clip,
            seed=0,
            task="bench",
            accelerator=accelerator,
            axis=model.input == "multi_resolution",
        )
        return cls(model._build, windows(rows, model.steps, features), recipe)

    def network(self) -> nn.Module:
        network = self.build()
        loop.start_at_frequencies(network, self.sample.y, self.sample.weight)
        return network


def windows(rows: int, steps: int, features: int) -> Sample:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(TABLE_ROWS, features)).astype(np.float32)
    ends = rng.integers(steps - 1, TABLE_ROWS, rows)
    return Sample(Windows(table, ends, steps), rng.integers(0, 3, rows).astype(np.int8), np.ones(rows))


class Ours:
    """The product's loop."""

    def __init__(self, task: Task) -> None:
        self.recipe, self.device = task.recipe, loop.choose_device(task.recipe.accelerator)
        with loop.reproducible(self.recipe.seed, self.device):
            self.network = task.network().to(self.device)
            data = loop._Data.of(task.sample, self.device, self.recipe)
            self.run = loop._Run(self.network, data, None, self.recipe)

    def epoch(self) -> None:
        with loop.reproducible(self.recipe.seed, self.device):
            self.run.epoch()


class Shuffled(Sampler[int]):
    """A ``RandomSampler`` that draws once per epoch; torch's draws twice, and the orders would part."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self.generator = rows, torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.rows, generator=self.generator).tolist())


class Plain:
    """What a careful user writes with torch alone: fused optimiser, schedule, clipping and a ``DataLoader``."""

    def __init__(self, task: Task, workers: int = 0) -> None:
        self.recipe, self.device = task.recipe, loop.choose_device(task.recipe.accelerator)
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            self.network = task.network().to(self.device)
        data = WindowDataset(task.sample.X, task.sample.y, task.sample.weight)
        self.loader = DataLoader(
            data,
            self.recipe.batch_rows,
            sampler=Shuffled(len(data), self.recipe.seed),
            generator=torch.Generator(),  # of the workers' seeds: dropout keeps the stream that ours has
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.type == "cuda",
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        steps = len(self.loader) * self.recipe.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, partial(loop.rate, steps=steps))

    def epoch(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            self.network.train()
            for batch in self.loader:
                self._step(*(part.to(self.device, non_blocking=True) for part in batch))

    def _step(self, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        scores = self.network(x[:, None] if self.recipe.axis else x)
        torch.autograd.backward(loop.log_loss(scores, y, weight))
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.schedule.step()


def medians(trainers: dict[str, Ours | Plain], clock: Callable[[], float]) -> dict[str, float]:
    """Seconds per epoch of each; all take turns, and the first epoch warms them up."""
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(ROUNDS + 1):
        for name, trainer in trainers.items():
            started = clock()
            trainer.epoch()
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append(clock() - started)
    return {name: median(spent[1:]) for name, spent in times.items()}


def compare(task: Task, what: str) -> None:
    """Run both loops on one thread, and check that they end with the same bytes."""
    torch.set_num_threads(1)
    ours, theirs = Ours(task), Plain(task)
    spent = medians({"theirs": theirs, "ours": ours}, time.process_time)
    ratio, rate = spent["theirs"] / spent["ours"], len(task.sample.y) / spent["ours"]
    LINES.append(f"{what}: {ratio:.2f}x, {rate:,.0f} windows/s (median of {ROUNDS}, alternating)")
    expected = theirs.network.state_dict()
    for name, value in ours.network.state_dict().items():
        assert torch.equal(value, expected[name])


def test_the_loop_on_a_tiny_network() -> None:
    recipe = loop.Recipe(ROUNDS + 1, 1, 512, 1e-3, 1e-2, 1.0, 0, "bench", accelerator=False)
    task = Task(partial(Tiny, 60, 8), windows(20 * 512, 60, 8), recipe)
    compare(task, "training a tiny network (512 x 60 x 8) against a DataLoader loop, target 3x")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loop_on_each_network(name: str) -> None:
    model = load_model(name)(**toy(name, batch_rows=128))
    task = Task.of(model, 8 * 128, features=6)
    compare(task, f"training {name} at toy size (128 x 5 x 6) against a DataLoader loop, target 1x")


@pytest.mark.parametrize(("name", "features"), [*((name, 16) for name in NETWORKS), ("nbeats", 128)])
def test_feeding_a_step(name: str, features: int) -> None:
    model = load_model(name)()
    task = Task.of(model, 4 * model.batch_rows, features=features)
    ours, order = Ours(task), torch.Generator().manual_seed(0)
    steps, feeds = [], []
    with loop.reproducible(0, CPU):
        ours.network.train()
        for step in range(4):
            which, other = torch.randperm(len(task.sample.y), generator=order).chunk(4)[:2]
            started = time.process_time()
            ours.run.data(which)
            between = time.process_time()
            ours.run._step(step, other)
            steps.append(time.process_time() - between)
            feeds.append(between - started)
    step, feed = median(steps[1:]), median(feeds[1:])
    size = f"{model.batch_rows} x {model.steps} x {features}"
    LINES.append(
        f"feeding {name} ({size}): {feed * 1e3:.2f} ms, {feed / step:.2%} of a step of {step * 1e3:,.0f} ms, target 2%"
    )
    assert 0 < feed < step


def test_folds_side_by_side() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 32)).astype(np.float32)
    y = (rng.random(len(x)) * 3).astype(np.int8)

    def fit(fold: int) -> np.ndarray:
        held_out = np.arange(len(x)) % 4 == fold
        model = load_model("lightgbm")(rounds=100)
        model.fit(x[~held_out], y[~held_out], np.ones((~held_out).sum()))
        return model.predict_proba(x[held_out])

    def count(_: int) -> int:
        return sum(range(20_000_000))

    workers, found = max(2, cores()), {}
    times: dict[tuple[Any, int], list[float]] = {}
    for work, many in [(work, many) for many in (1, workers) for work in (fit, count)] * 3:
        started = time.perf_counter()
        found[work, many] = list(side_by_side(work, range(4), many))
        times.setdefault((work, many), []).append(time.perf_counter() - started)
    spent = {which: median(taken) for which, taken in times.items()}
    fold, bare = (spent[work, 1] / spent[work, workers] for work in (fit, count))
    LINES.append(
        f"4 folds of lightgbm, {workers} at once against one after the other: {fold:.2f}x, "
        f"{spent[fit, workers]:.1f} s; counting, which shares nothing, gains {bare:.2f}x "
        f"({cores()} cores, load {os.getloadavg()[0]:.1f})"
    )
    for alone, beside in zip(found[fit, 1], found[fit, workers], strict=True):
        np.testing.assert_array_equal(alone, beside)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_the_loop_on_a_gpu(name: str) -> None:
    """Both loops at the model's own sizes: ours in bfloat16, theirs in float32 with the faster of two loaders."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    task = Task.of(load_model(name)(), 32_768, accelerator=True)
    workers = min(4, cores())  # more than there are cores is a warning
    loaders: dict[str, Ours | Plain] = {
        "loader": Plain(task),
        f"loader with {workers} workers": Plain(task, workers),
    }
    spent = medians({"ours": Ours(task), **loaders}, time.perf_counter)
    best = min(loaders, key=lambda what: spent[what])
    parameters = sum(value.numel() for value in task.build().parameters())
    LINES.append(
        f"{name} of {parameters:,} parameters on {torch.cuda.get_device_name()}, bf16: "
        f"{spent[best] / spent['ours']:.2f}x of the fp32 {best}, "
        f"{len(task.sample.y) / spent['ours']:,.0f} windows/s, target 5x"
    )
    for trainer in loaders.values():
        assert all(torch.isfinite(value).all() for value in trainer.network.parameters())
