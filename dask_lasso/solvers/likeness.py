"""How unlike the blocks are, of which the best rho of consensus ADMM is a function."""

from __future__ import annotations

import numpy as np

from ..problem.metric import Metric
from ..rows.statistics import Statistics

# Bytes of the Gram matrices that are kept, of all blocks or of some from all over them.
_BYTES = 2**26
# Of the power method: rho needs a digit.
_STEPS = 12


class Likeness:
    """The curvatures of blocks, beside each other."""

    def __init__(self) -> None:
        self._parts: dict[int, Statistics] = {}
        self._every = 1

    def add(self, block: int, statistics: Statistics) -> None:
        """A block's statistics, or those of a sample with the weight of all its rows."""
        self._parts[block] = statistics
        while len(self._parts) > max(2, _BYTES // (8 * statistics.n_features**2)):
            self._every *= 2
            self._parts = {b: part for b, part in self._parts.items() if b % self._every == 0}
        if block % self._every:
            self._parts.pop(block, None)

    def spread(self, metric: Metric) -> float:
        """The largest root mean square over the blocks of their curvature along a direction.

        Relative to their mean, which is 1 in all directions of `metric`: so 1 where blocks are
        alike, and the root of their number where one alone has all the curvature. 1 in a metric
        that is diagonal, where it says nothing of rho.
        """
        grams, total = [], 0.0
        for part in self._parts.values():
            off = part.x_mean - metric.x_shift
            grams.append(part.sxx + part.weight * np.outer(off, off))
            total += part.weight
        if not total or metric.root is None:
            return 1.0
        stacked = np.array(grams) * (len(grams) / total)
        v = np.random.default_rng(0).normal(size=len(metric.scale))
        size = 1.0
        for _ in range(_STEPS):
            v /= np.linalg.norm(v) or 1.0
            once = stacked @ metric.to_coef(v[:, np.newaxis])
            each = metric.to_coef(metric.of_columns(once[:, :, 0].T))
            twice = np.einsum("bij,jb->ib", stacked, each)
            v = metric.of_columns(twice).mean(axis=1)
            size = float(np.linalg.norm(v))
        return max(1.0, np.sqrt(size))
