"""Models that read windows of rows: one torch network each, one training loop and one file format for all."""

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.common.errors import InputError
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

_FILE: Final = "network.safetensors"


@dataclass
class SequenceModel(Model):
    """Base of all networks: subclasses add their widths and ``network``."""

    input: ClassVar[InputKind] = "sequence"
    scaling: ClassVar[Scaling] = "robust"
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"

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
    inner_log_losses_: list[float] = field(default_factory=list, init=False, repr=False)
    """validation log loss before training and after each epoch"""

    def __post_init__(self) -> None:
        self._network: torch.nn.Module | None = None

    @abstractmethod
    def network(self, features: int) -> "torch.nn.Module":
        """Build the untrained network: float32 (batch, steps, features) to scores (batch, 3).

        Its last layer is a linear one called ``head``.
        """

    def fit(self, X: Windows, y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        """Train the network; see ``loop.train``."""
        from mlfactory.models import loop

        self._check(X)
        check_rows(len(X), y, weight)
        if validation is not None:
            self._check(validation.X)
            check_rows(len(validation.X), validation.y, validation.weight)
        self.features_ = X.table.shape[1]
        recipe = loop.Recipe(
            epochs=self.epochs,
            patience=self.patience,
            batch_rows=self.batch_rows,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            clip=self.clip,
            seed=self.seed,
            task=context.get().task or type(self).__name__,
            accelerator=context.get().accelerator,
        )
        fitted = loop.train(lambda: self.network(self.features_), Sample(X, y, weight), validation, recipe)
        self._network = fitted.network
        self.best_iteration_ = fitted.best_epoch
        self.inner_log_losses_ = fitted.inner_log_losses
        self.n_parameters_ = sum(p.numel() for p in fitted.network.parameters())
        return self

    def predict_proba(self, X: Windows) -> Floats:
        """Give the probabilities of short, flat and long: float64 (windows, 3)."""
        from mlfactory.models import loop

        self._check(X)
        if X.table.shape[1] != self.features_:
            raise InputError(f"{X.table.shape[1]} columns; the model was fitted on {self.features_}")
        assert self._network is not None
        return probabilities(loop.predict(self._network, X, context.get().accelerator))

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
            network = self.network(self.features_)
            network.load_state_dict({name: stream.get_tensor(name) for name in stream.keys()})  # noqa: SIM118
            self._network = network.eval()

    def _check(self, X: Any) -> None:
        if not isinstance(X, Windows):
            raise InputError(
                f"{type(self).__name__} reads windows of rows, not a table of {type(X).__name__}"
            )
        if X.steps != self.steps:
            raise InputError(f"windows have {X.steps} steps; the model reads {self.steps}")
        finite_windows(X)


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
