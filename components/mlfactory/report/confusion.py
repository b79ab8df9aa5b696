"""The confusion matrix, as the KFP user interface draws it."""

from pathlib import Path
from typing import Any

from mlfactory.common.artifacts import read_json, write_json
from mlfactory.common.predictions import CLASSES


def log_confusion(report: Any, confusion: Any) -> None:
    """Give the matrix of the first horizon's ensemble to a ``ClassificationMetrics`` artifact.

    Args:
        report: artifact of the ``report`` folder.
        confusion: the artifact to fill.
    """
    document = read_json(Path(report.path) / "report.json")
    first = min(document["horizons"], key=int)
    matrix = document["horizons"][first]["confusion"]
    confusion.log_confusion_matrix(list(CLASSES), matrix)
    # KFP keeps metrics as metadata alone; its local cache takes a missing file for a missing artifact
    write_json(Path(confusion.path), {"classes": CLASSES, "matrix": matrix})
