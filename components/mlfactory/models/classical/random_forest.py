"""Random forest: the mean of many trees, each grown on resampled rows and random columns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlfactory.common.bars import Floats
from mlfactory.models.protocol import Classes, Model, Sample, checked, probabilities, shares
from mlfactory.models.storage import read_estimator, refusing, write_estimator

_FILE = "forest.skops"
TRUSTED: Final = frozenset(
    {
        "DictNode",
        "JsonNode",
        "ListNode",
        "NdArrayNode",
        "ObjectNode",
        "TreeNode",
        "TupleNode",
        "TypeNode",
        "builtins.dict",
        "builtins.list",
        "builtins.str",
        "builtins.tuple",
        "numpy.int64",
        "numpy.ndarray",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._tree.Tree",
    }
)
"""every type and skops loader that a forest consists of"""


@dataclass
class RandomForest(Model):
    """Mean of trees grown on bootstrap samples, each split chosen among a random subset of the columns."""

    source: ClassVar[str] = "Breiman (2001), Random forests"

    trees: Annotated[int, Field(ge=1)] = 200
    max_depth: Annotated[int, Field(ge=1)] = 6
    min_leaf_rows: Annotated[int, Field(ge=1)] = 200
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """rows drawn for each tree, as a share; neighbouring labels overlap, so fewer rows lose little"""

    def __post_init__(self) -> None:
        self._forest: Any = None

    def fit(self, X: NDArray[Any], y: Classes, weight: Floats, validation: Sample | None = None) -> Self:
        from sklearn.ensemble import RandomForestClassifier

        train = checked(X, y, weight)
        self.features_ = X.shape[1]
        self._forest = RandomForestClassifier(
            n_estimators=self.trees,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_leaf_rows,
            max_samples=self.row_share,
            max_features="sqrt",
            random_state=self.seed,
            n_jobs=1,
        )
        self._forest.fit(train.X, train.y.astype(np.int64), sample_weight=train.weight)
        self.importance_ = shares(self._forest.feature_importances_.tolist())
        return self

    def memory_estimate(self, rows: int, columns: int) -> dict[str, int]:
        """Estimate the bytes of a fit: rows, and the nodes of all trees."""
        nodes = min(1 << (self.max_depth + 1), 2 * rows // self.min_leaf_rows + 1)
        return {**super().memory_estimate(rows, columns), "trees": 112 * nodes * self.trees}

    def predict_proba(self, X: NDArray[Any]) -> Floats:
        self.readable(X)
        return probabilities(self._forest.predict_proba(X), self._forest.classes_)

    def write(self, folder: Path) -> None:
        write_estimator(folder / _FILE, self._forest)

    def read(self, folder: Path) -> None:
        self._forest = read_estimator(folder / _FILE, TRUSTED)
        with refusing(folder / _FILE, AttributeError):
            _check(self._forest, self.features_)


def _check(forest: Any, columns: int) -> None:
    """Refuse a forest whose nodes point outside their tree: scikit-learn follows them without a check."""
    from sklearn.ensemble import RandomForestClassifier

    if type(forest) is not RandomForestClassifier:
        raise ValueError(f"it holds a {type(forest).__name__}")
    if forest.n_features_in_ != columns:
        raise ValueError(f"it reads {forest.n_features_in_} columns, not {columns}")
    if not np.isin(forest.classes_, range(3)).all() or forest.n_outputs_ != 1:
        raise ValueError("its classes are not 0, 1, 2")
    for member in forest.estimators_:
        tree = member.tree_
        inner = np.flatnonzero(tree.children_left != -1)
        below = np.stack([tree.children_left[inner], tree.children_right[inner]])
        features = tree.feature[inner]
        if not ((below > inner).all() and (below < tree.node_count).all()):
            raise ValueError("a node's child is not one of the nodes after it")
        if not ((features >= 0).all() and (features < columns).all()):
            raise ValueError("a node asks for a column that does not exist")
        if tree.n_features != columns or tree.value.shape[1:] != (1, len(forest.classes_)):
            raise ValueError("a tree has other columns or classes than the forest")


MODEL = RandomForest
