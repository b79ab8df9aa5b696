"""Parameters of the ``oof`` stage."""

from mlfactory.common.params import Params as Base


class Params(Base):
    """The stage has no choices: a prediction is out of fold, or it is refused."""
