"""The columns of the ``regime`` artifact as they are: they already use bars strictly before the row, lagged once."""

from mlfactory.features.registry import feature
from mlfactory.features.segment import Floats, Segment, Setting


def _columns(setting: Setting) -> dict[str, int]:
    return dict(setting.regime)


@feature(_columns, unit="see the regime stage", source="regime artifact")
def regime(x: Segment) -> list[Floats]:
    """Market state before the bar."""
    return list(x.regime.values())
