"""What one training task does."""

from typing import Any, Literal

from pydantic import Field

from mlfactory.common.params import Params
from mlfactory.common.scaling import Scaling


class Selection(Params):
    """Which columns of its feature set a fold trains on; chosen on the fold's training rows alone."""

    method: Literal["none", "mutual_information", "permutation"] = "none"
    """what ranks the columns; see ``mlfactory.train.selection``"""
    columns: int = Field(default=50, ge=1)
    """how many are kept, best first"""
    folds: int = Field(default=3, ge=2)
    """purged folds of the training rows that the scores are averaged over"""
    compare: bool = True
    """also fit every fold without selection, and state the difference of log loss"""


class Weighting(Params):
    """What a training row weighs among those of its class; see ``mlfactory.common.weights``."""

    by: Literal["uniqueness", "return"] = "uniqueness"
    """the share of its span that a label has to itself, or the size of the return that it accounts for alone"""
    oldest: float = Field(default=1.0, gt=-1, le=1)
    """time decay: weight that the oldest row tends to, where the newest has 1; below 0 that share of the oldest rows
    weighs nothing"""


class Reading(Params):
    """How a model reads what its family is given."""

    feature_set: str = ""
    """a set that the family's matrix holds; empty: the family's own"""
    scaling: Scaling | Literal[""] = ""
    """fitted on each fold's training rows; empty: the model's own"""
    selection: Selection = Selection()
    weights: Weighting = Weighting()


class Job(Params):
    """One model at one horizon."""

    model: str
    """name in the registry"""
    horizon: int = Field(gt=0)
    """bars; one of the index's horizons"""
    params: dict[str, Any] = Field(default_factory=dict)
    """hyper-parameters that differ from the model's defaults"""
    reading: Reading = Reading()
    """how the model reads its matrix"""
    tune: int = Field(default=0, ge=0)
    """hyper-parameter settings to try in each fold, the given ones first; 0 keeps the given ones"""
