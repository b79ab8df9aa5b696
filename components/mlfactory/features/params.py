"""Parameters of the features stage: which columns to compute."""

from mlfactory.common.params import Params as Base


class Params(Base):
    """Selection of feature columns; formulas and windows belong to the groups."""

    groups: tuple[str, ...] = ()
    """groups to compute; empty means all"""
    exclude: tuple[str, ...] = ()
    """columns to leave out"""
    levels: bool = True
    """keep price levels: they belong to no model's set, charts use them"""
