"""Files that hold a fitted model as data: reading one never executes anything that is in it."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlfactory.common.errors import InputError

Arrays = Mapping[str, NDArray[Any]]
_DAMAGED: Final = (OSError, ValueError, KeyError, TypeError, IndexError)
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can state


@contextmanager
def refusing(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn a library's complaint about a model file into an error that names the file.

    Raises:
        InputError: the file is missing, or the block raised one of ``errors``.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: the model is incomplete")
    try:
        yield
    except errors + _DAMAGED as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} is not a model file that can be trusted: {reason}") from None


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays as safetensors without metadata: equal values give equal bytes."""
    from safetensors.numpy import save

    content = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    path.write_bytes(save(content))


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read what ``write_arrays`` wrote.

    Raises:
        InputError: the file is missing or damaged, or holds other arrays than ``names``.
    """
    from safetensors import SafetensorError, safe_open

    with refusing(path, SafetensorError), safe_open(path, framework="numpy") as stream:
        held = sorted(stream.keys())
        if held != sorted(names):
            raise ValueError(f"it holds {held}; expected {sorted(names)}")
        return {name: stream.get_tensor(name) for name in held}


def write_estimator(path: Path, estimator: Any) -> None:
    """Write a scikit-learn estimator in the skops format, canonically: equal estimators give equal bytes.

    skops names objects by their address in memory and stamps zip entries with the time; here every object is
    numbered in the order of the schema, every entry has one constant time, and the unused bytes between the
    fields of tree nodes are zero.
    """
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries.pop("schema.json"))
    files: dict[str, str] = {}
    for number, node in enumerate(_nodes(schema)):
        if "__id__" in node:
            node["__id__"] = number  # no two share one: whether constants share an address is chance
        if isinstance(node.get("file"), str):
            name = files.setdefault(node["file"], f"{len(files):06}{Path(node['file']).suffix}")
            node["file"] = name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("schema.json", _EPOCH), json.dumps(schema))
        for old, new in files.items():
            content = entries[old] if not new.endswith(".npy") else _without_padding(entries[old])
            archive.writestr(zipfile.ZipInfo(new, _EPOCH), content)


def _without_padding(npy: bytes) -> bytes:
    array = np.load(io.BytesIO(npy), allow_pickle=False)
    if array.dtype.names is None:
        return npy
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    out = io.BytesIO()
    np.save(out, clean, allow_pickle=False)
    return out.getvalue()


def read_estimator(path: Path, trusted: frozenset[str]) -> Any:
    """Read a scikit-learn estimator whose every type is in a list that the code states.

    The list is checked before skops sees the file, over all nodes; what skops trusts by itself is no help.

    Args:
        path: a file that ``write_estimator`` made.
        trusted: full names of the types and skops node loaders that may occur.

    Raises:
        InputError: the file is missing or damaged, or names a type that is not trusted.
    """
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

    with refusing(
        path, zipfile.BadZipFile, UntrustedTypesFoundException, UnsupportedTypeException, AttributeError
    ):
        with zipfile.ZipFile(path) as archive:
            schema = json.loads(archive.read("schema.json"))
        if strangers := sorted(_types(schema) - trusted):
            raise ValueError(f"it names {', '.join(strangers)}")
        return skops.io.load(path, trusted=sorted(name for name in trusted if not name.endswith("Node")))


def _types(schema: Any) -> set[str]:
    found = set()
    for node in _nodes(schema):
        if "__class__" in node or "__module__" in node:
            found.add(f"{node.get('__module__')}.{node.get('__class__')}")
        if "__loader__" in node:
            found.add(str(node["__loader__"]))
    return found


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Walk all objects of a JSON document, parents first, in the order in which it states them."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            waiting.extend(reversed(item))
