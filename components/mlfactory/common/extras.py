"""Folders of a user's own models and feature groups, which environment variables name."""

import os
from pathlib import Path
from typing import Final

FEATURE_GROUPS: Final = "MLF_FEATURE_GROUPS"
"""Environment variable: folders with further group files, separated like ``PATH``."""
MODELS: Final = "MLF_MODELS"
"""Environment variable: folders laid out like ``mlfactory.models`` (``<family>/<model>.py``), likewise."""


def folders(variable: str) -> list[Path]:
    """List the folders that an environment variable names."""
    return [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]
