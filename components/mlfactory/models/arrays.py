"""Models whose fitted state is a handful of arrays, kept in one safetensors file."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlfactory.models.protocol import Model
from mlfactory.models.storage import Arrays, read_arrays, refusing, write_arrays

FILE: Final = "arrays.safetensors"


@dataclass
class ArrayModel(Model):
    """Base of models that give what they learned as named arrays, and take it back."""

    @abstractmethod
    def state(self) -> Arrays:
        """What was learned, by name; the names are the same before the fit."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> None:
        """Take over a ``state``.

        Raises:
            ValueError: the arrays do not fit together, or not the columns that the model reads.
        """

    def write(self, folder: Path) -> None:
        """Write the state."""
        write_arrays(folder / FILE, self.state())

    def read(self, folder: Path) -> None:
        """Restore the state.

        Raises:
            InputError: the file is missing or damaged, or its arrays are another model's.
        """
        arrays = read_arrays(folder / FILE, tuple(self.state()))
        with refusing(folder / FILE):
            self.restore(arrays)
