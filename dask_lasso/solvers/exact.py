"""The model of a polished fit: the exact lasso of the rows seen so far.

Blocks report their statistics and have no more to do. Between reports the estimate is
not an ADMM iterate but the lasso of the merged statistics, warm-started: at equal cost
it is the better estimate (it has no error but the rows still missing), it needs no
further task on the cluster, and `max_time` may return it as it stands.
"""

from __future__ import annotations

import time

import numpy as np

from ..problem.gram import solve
from ..problem.penalties import L1
from ..rows.statistics import merge_statistics

# Share of the time since the first report that running estimates may take: the last one
# is the answer, those before are for whoever looks.
_ESTIMATES_SHARE = 0.03


class Exact:
    """Merged statistics and the lasso of them."""

    wants_updates = False

    def __init__(
        self,
        *,
        penalty: L1,
        fit_intercept,
        tol,
        max_iter,
        n_blocks,
        coef_init=None,
        dtype=np.float64,
    ):
        self._penalty = penalty
        self._dtype = dtype
        self._fit_intercept = fit_intercept
        self._tol = tol
        self._max_iter = max_iter
        self._n_blocks = n_blocks
        self._waiting = []
        self.n_reported = 0
        self._spent = 0.0
        self._began = time.perf_counter()
        self.statistics = None
        self.converged = False
        self.coef = coef_init
        self.gap = None
        self.null_loss = None  # what `tol` is relative to, one per target: ``||y||^2 / n``

    @property
    def samples_seen(self) -> int:
        merged = 0 if self.statistics is None else self.statistics.n_rows
        return merged + sum(part.n_rows for part in self._waiting)

    def absorb_report(self, block, statistics):
        """Keep a block's statistics for the next estimate."""
        self._waiting.append(statistics)
        self.n_reported += 1

    def update(self, n_updates):
        """Solve for the rows seen so far, unless that was done a moment ago."""
        now = time.perf_counter()
        self.converged = self.n_reported == self._n_blocks
        if not self.converged and self._spent > _ESTIMATES_SHARE * (now - self._began):
            return None
        row = self.estimate()
        self._spent += time.perf_counter() - now
        return row

    def estimate(self):
        """The exact lasso of all rows that have been reported."""
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_statistics(merged + self._waiting)
        self._waiting = []
        if self.statistics.weight == 0:
            self.converged = False
            return None
        return self._solve(self.statistics.moments(self._fit_intercept))

    def _solve(self, problem):
        """Make `coef` and `gap` those of the penalty."""
        self.coef, self.gap, value = solve(
            problem,
            self._penalty,
            max_iter=self._max_iter,
            coef_init=self.coef,
            dtype=self._dtype,
        )
        self.null_loss = problem.null_loss
        return {"samples_seen": self.samples_seen, "objective": value.sum()}
