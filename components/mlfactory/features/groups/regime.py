"""The columns of the ``regime`` artifact as they are: they already use bars strictly before the row, lagged once."""

from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, Setting

SOURCE = "Hamilton (1989), Wilder (1978), Mandelbrot and Van Ness (1968)"


def _columns(setting: Setting) -> dict[str, int]:
    return dict(setting.regime)


@feature(_columns, unit="state number; probability; 0 to 1; bars; log density", source=SOURCE)
def regime(x: Segment) -> list[Floats]:
    """Market state before the bar."""
    return list(x.regime.values())
