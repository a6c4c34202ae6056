"""The local problems of consensus ADMM: what a block computes, and how it is certified.

`FromStatistics` knows a block by its statistics, `FromRows` by its raw rows, which stay where
they are, and a loss that can be evaluated. `Consensus` uses either through the same few
methods:

- ``load()``: `Blocks`, futures of the data that updates work on and of the reports that come
  to the client;
- ``absorb(block, report)``: take a report in; then ``statistics``, ``samples_seen``,
  ``curvature``, ``null_loss``, ``metric(epoch)`` and ``spread(metric)`` are those of all
  reported rows;
- ``task(...)``: the proximal step of one block, which returns `Moved`;
- ``is_quadratic``: whether the loss has the same curvature everywhere;
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
from ..problem.losses import SQUARED, Pair
from ..problem.metric import Metric
from ..problem.moments import intercept, squares_about_zero
from ..problem.penalties import L1, Plugged
from ..rows.losses import ChunkLoss, RowLoss, Sums, add_sums, sums
from ..rows.statistics import Statistics, merge_statistics
from ..rows.summary import Summary, merge_summaries, summarise
from .certify_rows import Certificate, certify_rows
from .fit import Problem
from .likeness import Likeness
from .proximal import Moved, factorize, gram_update, rows_update

# Columns up to which blocks agree in a metric of all of them together. An estimate takes 0.1 ms
# in it up to 200 columns, 1 ms with 1,000, and the metric is 8 MB that every worker is sent.
MAX_POOLED = 1000


def _root_mean_squares(squares, weight, penalty):
    """Those of the columns, in scales that the penalty allows."""
    norms = np.sqrt(squares / (weight or 1.0))
    if isinstance(penalty, Plugged):
        norms = penalty.units(norms)
    return np.where(norms > 0, norms, np.inf)


def _is_pooled(k, penalty):
    """Whether the estimate in a metric of all columns is a problem that can be solved exactly."""
    return k <= MAX_POOLED and isinstance(penalty, L1)


class SentMetric:
    """The metric, where blocks are: sent once, and from worker to worker.

    Those before stay as long as the fit, for tasks that have them may be offered again.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._last: tuple[int, Future] | None = None

    def __call__(self, metric: Metric) -> Future:
        if self._last is None or self._last[0] != metric.epoch:
            self._last = metric.epoch, self._place.submit(_same, metric)
        return self._last[1]


def _same(value):
    return value


class FromStatistics:
    """Squared loss from the blocks' statistics: every step is exact and costs O(k^2)."""

    answers_are_free = True
    is_quadratic = True

    def __init__(self, place: Place, problem: Problem) -> None:
        self._place, self._problem = place, problem
        self._factors: dict[int, tuple[int, Future]] = {}  # block -> (epoch, future)
        self._sent, self._likeness = SentMetric(place), Likeness()
        self.statistics: Statistics | None = None

    def load(self) -> Blocks:
        """Statistics are both the data and the report; a handful of blocks per thread."""
        reports = self._place.load_statistics(few_blocks=True)
        return Blocks(reports, reports)

    def absorb(self, block: int, statistics: Statistics) -> None:
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_statistics([*merged, statistics])
        if statistics.weight and _is_pooled(statistics.n_features, self._problem.penalty):
            self._likeness.add(block, statistics)

    def spread(self, metric: Metric) -> float:
        """How unlike the blocks are that have reported; see `Likeness`."""
        return self._likeness.spread(metric)

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

    def metric(self, epoch: int) -> Metric:
        """That of the curvature of all reported rows."""
        statistics, moments = self.statistics, self._moments()
        penalty, fit_intercept = self._problem.penalty, self._problem.fit_intercept
        scale = _root_mean_squares(moments.norms**2, statistics.weight, penalty)
        shifts = statistics.x_mean, statistics.y_mean
        if not fit_intercept:
            shifts = np.zeros_like(shifts[0]), np.zeros_like(shifts[1])
        metric = Metric(epoch, *shifts, scale, fit_intercept)
        if not _is_pooled(statistics.n_features, penalty):
            return metric
        return metric.turned(moments.about_zero().gram)

    def task(
        self, block: int, data: Future, metric: Metric, start: Moved, centre: np.ndarray, rho: float
    ) -> tuple[Callable, tuple]:
        """`gram_update`, after a `factorize` where the metric is new."""
        epoch, factor = self._factors.get(block, (None, None))
        if epoch != metric.epoch:
            if factor is not None:
                self._place.release(factor)
            factor = self._place.submit(factorize, data, self._sent(metric))
            self._factors[block] = (metric.epoch, factor)
        return gram_update, (factor, centre, rho)

    def question(self, beta: np.ndarray, with_curvature: bool) -> tuple[Callable, tuple] | None:
        """Nothing to ask: the merged statistics know."""
        return None

    def certificate(self, beta: np.ndarray, answers: list[Sums]) -> Certificate:
        moments, coef = self._moments(), beta[: self.statistics.n_features]
        penalty, fit_intercept = self._problem.convex_penalty, self._problem.fit_intercept
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
        loss, fit_intercept = problem.row_loss, problem.fit_intercept
        self._loss: ChunkLoss | RowLoss
        if isinstance(loss, Pair):
            self._loss = ChunkLoss(loss, fit_intercept)
        else:
            self._loss = RowLoss(loss, fit_intercept)
        self._free = np.empty(0, dtype=np.intp)
        if problem.penalty.has_free and self._loss.dual is not None:
            self._free = np.flatnonzero(problem.l1_penalty.weights == 0)
        self._with_sample = _is_pooled(place.n_features, problem.penalty)
        self.is_quadratic = loss == SQUARED
        self.statistics: Summary | None = None
        self._weights: dict[int, float] = {}
        self._curvatures = 0.0  # mean over rows, at the last z
        self._curved: Statistics | None = None  # a sample, weighted by curvature at some z
        self._sent, self._likeness = SentMetric(place), Likeness()

    def load(self) -> Blocks:
        """Raw rows stay on the workers; their summaries are the reports."""
        args = self._loss, self._free, self._with_sample
        # What a user's functions cost is not known; ours are less than a message on few rows.
        few_blocks = isinstance(self._loss, RowLoss)
        ones = self._loss.has_ones
        return Blocks(*self._place.load_rows(ones, summarise, *args, few_blocks=few_blocks))

    def absorb(self, block: int, summary: Summary) -> None:
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_summaries([*merged, summary], self._free)
        self._weights[block] = summary.weight
        if summary.sample is not None:
            self._likeness.add(block, summary.sample)

    def spread(self, metric: Metric) -> float:
        """How unlike the blocks are that have reported; see `Likeness`.

        As their rows are, which are not weighted by the curvature there.
        """
        if self._curved is None:
            self._spread = self._likeness.spread(metric)
        return self._spread

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def curvature(self) -> float:
        """The loss' second derivative along a coordinate, over all rows.

        At the last estimate that had a certificate: of a constant's residuals few may be where
        Huber's loss has curvature, of the estimate's many.
        """
        curvature = self._curvatures * self.statistics.weight or self.statistics.curvature
        return curvature or self.statistics.weight

    @property
    def null_loss(self) -> np.ndarray:
        """Twice the mean loss of a constant: what ``||y||^2 / n`` is for the squared loss."""
        return self.statistics.null / self.statistics.weight

    def metric(self, epoch: int) -> Metric:
        """That of the curvature of all reported rows, as far as a sample of them knows it.

        Until blocks have been asked for the curvature of the loss at an estimate, the rows count
        alike, as for the functions of a user they always do.
        """
        summary, fit_intercept = self.statistics, self._problem.fit_intercept
        sample = summary.sample if self._curved is None else self._curved
        square, x_shift = summary.x_variation, summary.x_mean
        if not fit_intercept:
            square = squares_about_zero(square, x_shift, summary.weight, "X")
            x_shift = np.zeros_like(x_shift)
        penalty = self._problem.penalty
        scale = _root_mean_squares(square, summary.weight, penalty)
        y_shift = summary.start if fit_intercept else np.zeros_like(summary.start)
        metric = Metric(epoch, x_shift, y_shift, scale, fit_intercept)
        if sample is None:
            return metric
        moments = sample.moments(fit_intercept)
        if self._curved is not None:
            squares = np.where(np.isfinite(scale), moments.norms**2, 0.0)
            spread = _root_mean_squares(squares, sample.weight, penalty)
            metric = metric._replace(
                scale=np.where(np.isfinite(spread), spread, scale),
                x_shift=sample.x_mean if fit_intercept else x_shift,
            )
        return metric.turned(moments.about_zero().gram)

    def task(
        self, block: int, data: Future, metric: Metric, start: Moved, centre: np.ndarray, rho: float
    ) -> tuple[Callable, tuple]:
        """`rows_update` from the block's last solution."""
        curvature = self.curvature * self._weights[block] / self.statistics.weight
        return rows_update, (data, self._loss, self._sent(metric), start, centre, rho, curvature)

    def question(self, beta: np.ndarray, with_curvature: bool) -> tuple[Callable, tuple] | None:
        """`sums` at `beta`."""
        self._asked = self.statistics  # of the blocks that will answer
        return sums, (self._loss, beta, with_curvature and self._with_sample)

    def certificate(self, beta: np.ndarray, answers: list[Sums]) -> Certificate:
        total = add_sums(answers)
        # Far out, where an exponential has no bounds, it says nothing of where the minimum is.
        if np.isfinite(total.curvatures):
            self._curvatures = total.curvatures / self._asked.weight
            if total.curved is not None and total.curved.defect is None and total.curved.weight:
                self._curved = total.curved
        return certify_rows(beta, total, self._asked, self._problem, self._loss.dual)
