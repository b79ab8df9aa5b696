"""Models that read windows: one torch network each, one training loop and one file format for all."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import MultiResolutionDataset
from mlfactory.common.scaling import Scaling
from mlfactory.common.windows import Windows
from mlfactory.models.protocol import (
    Classes,
    InputKind,
    Model,
    Sample,
    check_rows,
    context,
    finite,
    probabilities,
)
from mlfactory.models.storage import refusing

if TYPE_CHECKING:
    import torch

AnyWindows = Windows | MultiResolutionDataset
MOST_TIMEFRAMES: Final = 1_000
_FILE: Final = "network.safetensors"


@dataclass
class NetworkModel(Model):
    """What all networks share: how they are trained, kept and asked."""

    scaling: ClassVar[Scaling] = "robust"
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    stops_early: ClassVar[bool] = True

    steps: Annotated[int, Field(ge=2)] = 60
    """rows per window"""
    epochs: Annotated[int, Field(ge=1)] = 30
    patience: Annotated[int, Field(ge=1)] = 5
    """epochs without improvement on the validation rows before training stops"""
    batch_rows: Annotated[int, Field(ge=1)] = 512
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    """highest rate: reached after a linear warm-up over the first twentieth, left on half a cosine"""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    clip: Annotated[float, Field(gt=0)] = 1.0
    """largest Euclidean norm of a step's gradient"""
    class_weight: Literal["none", "balanced"] = "none"
    """``balanced`` gives every class the same total weight in the loss; probabilities then are of equal classes"""
    deterministic: bool = True
    """the same bytes on every run, on a GPU too; false lets a GPU choose faster algorithms"""
    compiled: bool = False
    """compile the network with ``torch.compile``: pays on a GPU and for many epochs"""
    inner_log_losses_: list[float] = field(default_factory=list, init=False, repr=False)
    """validation log loss before training and after each epoch"""
    batch_rows_: int = field(default=0, init=False, repr=False)
    """windows per step; fewer than ``batch_rows`` where memory did not suffice"""

    def __post_init__(self) -> None:
        self._network: torch.nn.Module | None = None

    _axis: ClassVar[bool] = False
    """whether windows of rows get an axis of one timeframe"""
    _readable: ClassVar[tuple[type[AnyWindows], ...]] = (Windows,)

    @abstractmethod
    def _build(self) -> "torch.nn.Module":
        """Build the untrained network for the shape that the fit has learned."""

    @abstractmethod
    def _window(self) -> tuple[int, ...]:
        """Shape of one window."""

    def _learn_shape(self, X: Any) -> None:
        self.features_ = X.table.shape[1]

    def fit(
        self,
        X: Any,
        y: Classes,
        weight: Floats,
        validation: Sample | None = None,
        *,
        returns: Floats | None = None,
    ) -> Self:
        """Train the network; see ``loop.train``.

        ``returns``, shape (rows,), are net returns, for models that say ``uses_returns``.
        """
        from mlfactory.models import loop

        self._check(X)
        check_rows(len(X), y, weight)
        if validation is not None:
            self._check(validation.X)
            check_rows(len(validation.X), validation.y, validation.weight)
        self._learn_shape(X)
        where = context.get()
        recipe = loop.Recipe(
            epochs=self.epochs,
            patience=self.patience,
            batch_rows=self.batch_rows,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            clip=self.clip,
            seed=self.seed,
            task=where.task or type(self).__name__,
            accelerator=where.accelerator,
            class_weight=self.class_weight,
            deterministic=self.deterministic,
            compiled=self.compiled,
            axis=self._axis,
            checkpoint=where.checkpoint,
        )
        fitted = loop.train(self._build, Sample(X, y, weight), validation, recipe, returns)
        self._network = fitted.network
        self.best_iteration_ = fitted.best_epoch
        self.inner_log_losses_ = fitted.inner_log_losses
        self.batch_rows_ = fitted.batch_rows
        self.explanation_ = fitted.explanation
        self.n_parameters_ = sum(p.numel() for p in fitted.network.parameters())
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Give the probabilities of short, flat and long: float64 (windows, 3)."""
        from mlfactory.models import loop

        self._check(X)
        if X.table.shape[1] != self.features_:
            raise InputError(f"{X.table.shape[1]} columns; the model was fitted on {self.features_}")
        assert self._network is not None
        return probabilities(loop.predict(self._network, X, context.get().accelerator, axis=self._axis))

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes of a fit: parameters with their gradients and moments, and a step's activations.

        The activations are those that one forward pass of two windows keeps for its gradients, times the windows
        of a step.
        """
        from mlfactory.models import footprint

        self.features_ = self.features_ or columns
        return footprint.of_training(self._build(), self._window(), min(self.batch_rows, rows))

    def write(self, folder: Path) -> None:
        """Write the network's arrays as safetensors, without metadata."""
        from safetensors.torch import save

        assert self._network is not None
        state = {name: tensor.contiguous() for name, tensor in self._network.state_dict().items()}
        (folder / _FILE).write_bytes(save(state))

    def read(self, folder: Path) -> None:
        """Build the network from the hyper-parameters and fill in its arrays.

        Raises:
            InputError: the file is missing or damaged, or holds another network.
        """
        from safetensors import SafetensorError, safe_open

        with (
            refusing(folder / _FILE, SafetensorError, RuntimeError, AttributeError),
            safe_open(folder / _FILE, framework="pt") as stream,
        ):
            network = self._build()
            network.load_state_dict({name: stream.get_tensor(name) for name in stream.keys()})  # noqa: SIM118
            self._network = network.eval()

    def _check(self, X: Any) -> None:
        if not isinstance(X, self._readable):
            names = " or ".join(kind.__name__ for kind in self._readable)
            raise InputError(f"{type(self).__name__} reads {names}, not {type(X).__name__}")
        if X.steps != self.steps:
            raise InputError(f"windows have {X.steps} steps; the model reads {self.steps}")
        if isinstance(X, Windows):
            finite_windows(X)


@dataclass
class SequenceModel(NetworkModel):
    """Base of networks that read windows of rows: subclasses add their widths and ``network``."""

    input: ClassVar[InputKind] = "sequence"

    @abstractmethod
    def network(self, features: int) -> "torch.nn.Module":
        """Build the untrained network: float32 (batch, steps, features) to scores (batch, 3).

        Its last layer is a linear one called ``head``. It may have two more methods. ``auxiliary_loss(returns)``
        adds to the loss of the batch that ``forward`` saw last, in models that say ``uses_returns``.
        ``explain(x)`` says what the network attends to: values by name, each of shape (batch, quantity).
        """

    def _build(self) -> "torch.nn.Module":
        return self.network(self.features_)

    def _window(self) -> tuple[int, ...]:
        return (self.steps, self.features_)


@dataclass
class MultiResolutionModel(NetworkModel):
    """Base of networks that read several timeframes at once; windows of rows are one timeframe to them."""

    input: ClassVar[InputKind] = "multi_resolution"
    shape: ClassVar[Mapping[str, int]] = {**Model.shape, "timeframes": MOST_TIMEFRAMES}
    _axis: ClassVar[bool] = True
    _readable: ClassVar[tuple[type[AnyWindows], ...]] = (MultiResolutionDataset, Windows)

    timeframes_: int = field(default=1, init=False, repr=False)
    """timeframes that the model was fitted on"""

    @abstractmethod
    def network(self, channels: int, timeframes: int) -> "torch.nn.Module":
        """Build the untrained network: float32 (batch, timeframes, steps, channels) to scores (batch, 3).

        As with ``SequenceModel.network``, its last layer is called ``head``, and two more methods are welcome.
        """

    def _learn_shape(self, X: Any) -> None:
        super()._learn_shape(X)
        self.timeframes_ = len(X.timeframes) if isinstance(X, MultiResolutionDataset) else 1

    def _build(self) -> "torch.nn.Module":
        return self.network(self.features_, self.timeframes_)

    def _window(self) -> tuple[int, ...]:
        return (self.timeframes_, self.steps, self.features_)

    def _check(self, X: Any) -> None:
        super()._check(X)
        found = len(X.timeframes) if isinstance(X, MultiResolutionDataset) else 1
        if self._network is not None and found != self.timeframes_:
            raise InputError(f"windows of {found} timeframes; the model was fitted on {self.timeframes_}")


def finite_windows(X: Windows, columns: tuple[str, ...] | None = None) -> None:
    """Refuse NaN and infinity in the rows that windows cover; other rows may hold anything.

    Raises:
        InputError: names the first column that holds one.
    """
    covered = np.zeros(len(X.table) + 1, np.int64)
    np.add.at(covered, X.first, 1)
    np.add.at(covered, X.ends + 1, -1)
    inside = np.cumsum(covered[:-1]) > 0
    edges = np.flatnonzero(np.diff(np.r_[False, inside, False].astype(np.int8)))
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        finite(X.table[first:stop], columns, int(first))
