"""Compile the kernels that the audited stages run in one process, when the image is built."""

from mlfactory.audit.chain import Chain
from mlfactory.audit.params import Settings
from mlfactory.common.rehearsal import folder, write_toy_bars


def warm() -> None:
    """Compute every column of toy bars."""
    with folder() as place:
        bars = write_toy_bars(place / "bars")
    Chain(bars, Settings()).parts(bars)


if __name__ == "__main__":
    warm()
