"""Places where a fit leaves its progress, in a folder or an object store, so that a killed task goes on.

A container that is killed loses its disk. What is read back is arrays and JSON: nothing in it is executed.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from mlfactory.common.artifacts import to_json
from mlfactory.common.errors import InputError
from mlfactory.common.stage import note
from mlfactory.models.storage import Arrays

_FACTS = "facts"


@dataclass(frozen=True)
class Slot:
    """One checkpoint of one fit; written whole or not at all."""

    uri: str
    """file, or object of a store that fsspec knows"""

    def write(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        from safetensors.numpy import save

        told = np.frombuffer(to_json(dict(facts)).encode(), np.uint8)
        content = save({**{name: np.ascontiguousarray(a) for name, a in arrays.items()}, _FACTS: told})
        store, path = self._place()
        store.makedirs(store._parent(path), exist_ok=True)
        part = f"{path}.part"
        store.pipe_file(part, content)
        store.mv(part, path)  # a reader finds the old checkpoint or this one, never half of one

    def read(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Read arrays and facts; None, with a note, where the checkpoint is damaged, and None where none is."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        store, path = self._place()
        if not store.exists(path):
            return None
        try:
            arrays = load(store.cat_file(path))
            facts = json.loads(arrays.pop(_FACTS).tobytes())
            if not isinstance(facts, dict):
                raise ValueError("its facts are no mapping")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, struct.error) as error:
            note(f"the checkpoint {self.uri} cannot be used ({error}): training begins anew")
            return None
        return arrays, facts

    def remove(self) -> None:
        """Delete the checkpoint, if there is one."""
        store, path = self._place()
        if store.exists(path):
            store.rm(path)

    def _place(self) -> tuple[Any, str]:
        store, path = fsspec.core.url_to_fs(self.uri)
        return store, str(path)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one task: a folder named by the hash of all that the task depends on."""

    uri: str
    """folder or prefix of an object store"""
    key: str
    """hash of data, settings and code: another input never meets these checkpoints"""

    def slot(self, name: str) -> Slot:
        """Name one checkpoint."""
        return Slot(f"{self.uri.rstrip('/')}/{self.key}/{name}.safetensors")

    def check(self) -> None:
        """Refuse a place that cannot be written to, before hours of work rely on it.

        Raises:
            InputError: names the place and the reason.
        """
        probe = self.slot("probe")
        try:
            probe.write({}, {})
            probe.remove()
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"checkpoint_uri {self.uri!r} cannot be written to: {error}") from None

    def clear(self) -> None:
        """Delete all checkpoints of the task."""
        store, path = fsspec.core.url_to_fs(f"{self.uri.rstrip('/')}/{self.key}")
        if store.exists(path):
            store.rm(path, recursive=True)
