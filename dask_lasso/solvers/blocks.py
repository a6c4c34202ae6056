"""The local problems of consensus ADMM: what a block computes, and how it is certified.

`FromStatistics` knows a block by its statistics, `FromRows` by its raw rows, which stay where
they are, and a loss that can be evaluated. `Consensus` uses either through the same few
methods:

- ``load()``: `Blocks`, futures of the data that updates work on and of the reports that come
  to the client;
- ``absorb(block, report)``: take a report in; then ``statistics``, ``samples_seen``,
  ``curvature``, ``null_loss`` and ``standardise()`` are those of all reported rows;
- ``task(...)``: the proximal step of one block;
- ``question(...)``: what to ask every block about an estimate, None if nothing, as where
  ``answers_are_free``;
  ``certificate(...)``: the certificate from the answers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..engines.run import Blocks
from ..places.place import Future, Place
from ..problem.certificate import duality_gap, objective
from ..problem.losses import Pair
from ..problem.metric import Metric
from ..problem.moments import intercept
from ..problem.penalties import Plugged
from ..rows.losses import ChunkLoss, RowLoss, Sums, add_sums, sums
from ..rows.statistics import Statistics, merge_statistics
from ..rows.summary import Summary, merge_summaries, summarise
from .certify_rows import Certificate, certify_rows
from .fit import Problem
from .proximal import factorize, gram_update, rows_update


def _root_mean_squares(squares, weight, penalty):
    """Those of the columns, in scales that the penalty allows."""
    norms = np.sqrt(squares / (weight or 1.0))
    if isinstance(penalty, Plugged):
        norms = penalty.units(norms)
    return np.where(norms > 0, norms, np.inf)


class FromStatistics:
    """Squared loss from the blocks' statistics: every step is exact and costs O(k^2)."""

    answers_are_free = True

    def __init__(self, place: Place, problem: Problem) -> None:
        self._place, self._problem = place, problem
        self._factors: dict[int, tuple[int, Future]] = {}  # block -> (epoch, future)
        self.statistics: Statistics | None = None

    def load(self) -> Blocks:
        """Statistics are both the data and the report; a handful of blocks per thread."""
        reports = self._place.load_statistics(few_blocks=True)
        return Blocks(reports, reports)

    def absorb(self, block: int, statistics: Statistics) -> None:
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_statistics([*merged, statistics])

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def curvature(self) -> float:
        """The loss' mean second derivative along a standardised column, over all rows."""
        return self.statistics.weight

    @property
    def null_loss(self) -> np.ndarray:
        """``||y||^2 / n``, about the mean with an intercept."""
        return self._moments().null_loss

    def standardise(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means of the columns, means of the targets, root mean squares of the columns."""
        squares, weight = self._moments().norms ** 2, self.statistics.weight
        scale = _root_mean_squares(squares, weight, self._problem.penalty)
        return self.statistics.x_mean, self.statistics.y_mean, scale

    def task(
        self,
        block: int,
        data: Future,
        metric: Metric,
        x: np.ndarray,
        centre: np.ndarray,
        rho: float,
    ) -> tuple[Callable, tuple]:
        """`gram_update`, after a `factorize` where the metric is new."""
        epoch, factor = self._factors.get(block, (None, None))
        if epoch != metric.epoch:
            if factor is not None:
                self._place.release(factor)
            factor = self._place.submit(factorize, data, metric)
            self._factors[block] = (metric.epoch, factor)
        return gram_update, (factor, centre, rho)

    def question(self, beta: np.ndarray) -> tuple[Callable, tuple] | None:
        """Nothing to ask: the merged statistics know."""
        return None

    def certificate(self, beta: np.ndarray, answers: list[Sums]) -> Certificate:
        moments, coef = self._moments(), beta[: self.statistics.n_features]
        penalty, fit_intercept = self._problem.penalty, self._problem.fit_intercept
        return Certificate(
            coef,
            intercept(self.statistics, coef, fit_intercept),
            objective(moments, coef, penalty),
            duality_gap(moments, coef, penalty) if penalty.has_dual else None,
        )

    def _moments(self):
        return self.statistics.moments(self._problem.fit_intercept)


class FromRows:
    """Any smooth convex loss, on raw rows that stay where they are, by L-BFGS."""

    answers_are_free = False

    def __init__(self, place: Place, problem: Problem) -> None:
        self._place, self._problem = place, problem
        loss, fit_intercept = problem.loss, problem.fit_intercept
        self._loss: ChunkLoss | RowLoss
        if isinstance(loss, Pair):
            self._loss = ChunkLoss(loss, fit_intercept)
        else:
            self._loss = RowLoss(loss, fit_intercept)
        self._free = np.empty(0, dtype=np.intp)
        if problem.penalty.has_free and self._loss.dual is not None:
            self._free = np.flatnonzero(problem.l1_penalty.weights == 0)
        self.statistics: Summary | None = None
        self._weights: dict[int, float] = {}
        self._curved = 0.0  # share of the rows where the loss has curvature, at the last z

    def load(self) -> Blocks:
        """Raw rows stay on the workers; their summaries are the reports."""
        args = self._loss, self._free
        return Blocks(*self._place.load_rows(self._loss.has_ones, summarise, *args))

    def absorb(self, block: int, summary: Summary) -> None:
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_summaries([*merged, summary], self._free)
        self._weights[block] = summary.weight

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def curvature(self) -> float:
        """The loss' second derivative along a standardised column, over all rows.

        Of a constant's residuals few may be where Huber's loss has curvature, of the
        estimate's many: the last certificate knows better than the first pass.
        """
        curvature = max(self.statistics.curvature, self._curved * self.statistics.weight)
        return curvature or self.statistics.weight

    @property
    def null_loss(self) -> np.ndarray:
        """Twice the mean loss of a constant: what ``||y||^2 / n`` is for the squared loss."""
        return self.statistics.null / self.statistics.weight

    def standardise(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means of the columns, where the intercept starts, spread of the columns."""
        summary = self.statistics
        square = summary.x_variation
        if not self._problem.fit_intercept:
            square = square + summary.weight * summary.x_mean**2
        scale = _root_mean_squares(square, summary.weight, self._problem.penalty)
        return summary.x_mean, summary.start, scale

    def task(
        self,
        block: int,
        data: Future,
        metric: Metric,
        x: np.ndarray,
        centre: np.ndarray,
        rho: float,
    ) -> tuple[Callable, tuple]:
        """`rows_update` from the block's last solution."""
        curvature = self.curvature * self._weights[block] / self.statistics.weight
        return rows_update, (data, self._loss, metric, x, centre, rho, curvature)

    def question(self, beta: np.ndarray) -> tuple[Callable, tuple] | None:
        """`sums` at `beta`."""
        self._asked = self.statistics  # of the blocks that will answer
        return sums, (self._loss, beta)

    def certificate(self, beta: np.ndarray, answers: list[Sums]) -> Certificate:
        total = add_sums(answers)
        self._curved = total.curved / self._asked.weight
        return certify_rows(beta, total, self._asked, self._problem, self._loss.dual)
