"""Compile the kernels of this stage, when its image is built."""

from mlfactory.common.rehearsal import folder
from mlfactory.ingest.params import Params, Synthetic
from mlfactory.ingest.stage import SYNTHETIC, run


def warm() -> None:
    """Generate a few bars."""
    with folder() as place:
        params = Params(synthetic=Synthetic(bars=1000))
        run(SYNTHETIC, place / "bars", place / "quarantine", place / "data_report", params=params)


if __name__ == "__main__":
    warm()
