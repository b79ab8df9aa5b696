"""Compile the kernels of this stage, when its image is built."""

from mlfactory.common.rehearsal import folder, write_toy_bars, write_toy_ladder, write_toy_regime
from mlfactory.features.stage import run


def warm() -> None:
    """Run the stage on toy bars."""
    with folder() as place:
        bars = write_toy_bars(place / "bars")
        write_toy_regime(place / "regime", bars)
        write_toy_ladder(place / "mtf", bars)
        run(place / "bars", place / "regime", place / "mtf", place / "features")


if __name__ == "__main__":
    warm()
