"""Compiled kernels: one decorator, cached on disk, bit-reproducible (no fast-math), free of the GIL."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

BAKED = "MLF_KERNEL_CACHE"
"""Environment variable of the images: the read-only folder that holds the kernels compiled at build time."""


def _use_baked_cache() -> None:
    """Copy the image's kernels to a writable folder: numba refuses to read a cache that it cannot write."""
    baked = os.environ.get(BAKED)
    if not baked or not Path(baked).is_dir() or "NUMBA_CACHE_DIR" in os.environ:
        return
    writable = Path(tempfile.mkdtemp(prefix="kernels-"))
    shutil.copytree(baked, writable, dirs_exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(writable)


_use_baked_cache()

import numba  # noqa: E402  (reads NUMBA_CACHE_DIR when it is imported)


def kernel(function: F) -> F:
    """Compile ``function`` to machine code on its first call and keep the result for later processes."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
