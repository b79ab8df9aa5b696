"""Compile the kernels of this stage, when its image is built."""

from mlfactory.common.rehearsal import folder
from mlfactory.ingest.params import Params
from mlfactory.ingest.stage import SYNTHETIC, run


def warm() -> None:
    """Run the stage on a short generated series, with a signal planted."""
    params = Params.model_validate({"synthetic": {"bars": 3000}})
    with folder() as place:
        run(SYNTHETIC, place / "bars", place / "quarantine", place / "data_report", params=params)


if __name__ == "__main__":
    warm()
