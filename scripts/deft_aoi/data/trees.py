"""Extremely randomised trees (Geurts et al., 2006), the very ones of scikit-learn's `ExtraTreesClassifier`.

Its forest clones an estimator, checks the table and hands out a job for every tree. For a thousand rows that costs as
much as half of the growing, so the trees are grown here by its own builder. A test holds the two against each other.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deft_aoi.base.threads import cores

_LARGEST_INT = int(np.iinfo(np.int32).max)


@dataclass(frozen=True)
class Trees:
    """Grown trees of two classes."""

    grown: tuple[Any, ...]

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """(n, 2): mean share of each class in the leaves of the rows, added in the order of the trees."""
        table = np.asarray(features, np.float32)
        total = np.zeros((len(table), 2))
        for tree in self.grown:
            total += tree.predict(table).reshape(len(table), 2)
        return total / len(self.grown)


def grow_trees(
    features: NDArray[np.float32], positive: NDArray[np.bool_], seed: int, *, count: int, leaf: int, share: float
) -> Trees:
    """`count` trees with at least `leaf` rows in a leaf; `share` of the columns is tried at a split, classes balanced.

    Both classes must be there. Parallel over trees: the builder needs no Python.
    """
    from sklearn.tree._criterion import Gini
    from sklearn.tree._splitter import RandomSplitter
    from sklearn.tree._tree import DepthFirstTreeBuilder, Tree
    from sklearn.utils.class_weight import compute_sample_weight

    table = np.asfortranarray(features, np.float32)
    columns, classes = table.shape[1], np.array([2], np.intp)
    answers = np.ascontiguousarray(positive[:, None], np.float64)
    weights = compute_sample_weight("balanced", positive)
    tried = max(1, int(share * columns))

    def grow(tree_seed: int) -> Any:
        chance = np.random.RandomState(tree_seed)
        splitter = RandomSplitter(Gini(1, classes), tried, leaf, 0.0, chance, None)
        tree = Tree(columns, classes, 1)
        DepthFirstTreeBuilder(splitter, 2, leaf, 0.0, _LARGEST_INT, 0.0).build(tree, table, answers, weights, None)
        return tree

    order = np.random.RandomState(seed)
    with ThreadPoolExecutor(cores()) as pool:
        return Trees(tuple(pool.map(grow, [int(order.randint(_LARGEST_INT)) for _ in range(count)])))
