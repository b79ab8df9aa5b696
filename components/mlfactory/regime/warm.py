"""Compile the kernels of this stage, when its image is built."""

from mlfactory.common.rehearsal import folder, write_toy_bars
from mlfactory.regime.stage import run


def warm() -> None:
    """Run the stage on toy bars."""
    with folder() as place:
        write_toy_bars(place / "bars")
        run(place / "bars", place / "regime", place / "regime_report", place / "states")


if __name__ == "__main__":
    warm()
