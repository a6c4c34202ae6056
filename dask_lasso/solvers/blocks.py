"""The local problems of consensus ADMM: what a block computes, and how it is certified.

`Gram` knows a block by its statistics, `BlackBox` by its raw rows, which stay where they
are, and a loss that can only be evaluated. `Consensus` and the engines use either through
the same few methods:

- ``load(place)``: per block, a future of the data that updates work on and a future of
  the report that comes to the client;
- ``absorb(block, report)``: take a report in; then ``statistics``, ``samples_seen``,
  ``curvature``, ``null_loss`` and ``standardise()`` are those of all reported rows;
- ``task(...)``: the proximal step of one block;
- ``question(...)``: what to ask every block about an estimate, None if nothing, as where
  ``answers_are_free``;
  ``certificate(...)``: the certificate from the answers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..problem.certificate import ORTHOGONAL, duality_gap, objective
from ..problem.linear import LeastSquares
from ..problem.moments import intercept
from ..problem.penalties import L1
from ..rows.raw import add_sums, merge_summaries, summarise, sums
from ..rows.statistics import merge_statistics
from .proximal import black_box_update, factorize, gram_update


class Certificate(NamedTuple):
    """What is known of an estimate; all per target (m,), `gap` is None without a dual."""

    coef: np.ndarray  # (k, m)
    intercept: np.ndarray
    objective: np.ndarray
    gap: np.ndarray | None


def _scale(squares, weight):
    """Root mean squares of columns, of which sums of squares are known."""
    return np.sqrt(np.where(squares > 0, squares / (weight or 1.0), np.inf))


class Gram:
    """Squared loss from the blocks' statistics: every step is exact and costs O(k^2)."""

    answers_are_free = True

    def __init__(self, penalty: L1, fit_intercept: bool):
        self._penalty = penalty
        self._fit_intercept = fit_intercept
        self._factors = {}  # block -> (epoch, future)
        self.statistics = None

    def load(self, place):
        """Statistics are both the data and the report; a handful of blocks per thread."""
        reports = place.load_statistics(few_blocks=True)
        return reports, reports

    def absorb(self, block, statistics):
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
    def null_loss(self):
        """``||y||^2 / n``, about the mean with an intercept."""
        return self._moments().null_loss

    def standardise(self):
        """Means of the columns, means of the targets, root mean squares of the columns."""
        scale = _scale(self._moments().norms ** 2, self.statistics.weight)
        return self.statistics.x_mean, self.statistics.y_mean, scale

    def task(self, block, data, metric, x, z, u, rho, place):
        """`gram_update`, after a `factorize` where the metric is new."""
        epoch, factor = self._factors.get(block, (None, None))
        if epoch != metric.epoch:
            if factor is not None:
                place.release(factor)
            factor = place.submit(factorize, data, metric)
            self._factors[block] = (metric.epoch, factor)
        return gram_update, (factor, z - u, rho)

    def question(self, beta):
        """Nothing to ask: the merged statistics know."""
        return

    def certificate(self, beta, answers) -> Certificate:
        problem, coef = self._moments(), beta[: self.statistics.n_features]
        return Certificate(
            coef,
            intercept(self.statistics, coef, self._fit_intercept),
            objective(problem, coef, self._penalty),
            duality_gap(problem, coef, self._penalty),
        )

    def _moments(self):
        return self.statistics.moments(self._fit_intercept)


class BlackBox:
    """Any smooth convex loss, on raw rows that stay where they are, by L-BFGS."""

    answers_are_free = False

    def __init__(self, loss, penalty: L1, fit_intercept: bool):
        self._loss = loss
        self._penalty = penalty
        self._fit_intercept = fit_intercept
        # A user's functions see the intercept as a column of ones.
        self._ones = fit_intercept and not loss.has_conjugate
        self._free = np.empty(0, dtype=np.intp)
        if loss.has_conjugate and penalty.has_free:
            self._free = np.flatnonzero(penalty.weights == 0)
        self.statistics = None
        self._weights = {}
        self._curved = 0.0  # share of the rows where the loss has curvature, at the last z

    def load(self, place):
        """Raw rows stay on the workers; their summaries are the reports."""
        args = self._loss, self._fit_intercept, self._ones, self._free
        return place.load_rows(self._ones, summarise, *args)

    def absorb(self, block, summary):
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = merge_summaries([*merged, summary], self._free)
        self._weights[block] = summary.weight

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def curvature(self) -> float:
        """The loss' mean second derivative along a standardised column, over all rows.

        Of a constant's residuals few may be where Huber's loss has curvature, of the
        estimate's many: the last certificate knows better than the first pass.
        """
        curvature = max(self.statistics.curvature, self._curved * self.statistics.weight)
        return curvature or self.statistics.weight

    @property
    def null_loss(self):
        """Twice the mean loss of a constant: what ``||y||^2 / n`` is for the squared loss."""
        return self.statistics.null / self.statistics.weight

    def standardise(self):
        """Means of the columns, where the intercept starts, spread of the columns."""
        summary = self.statistics
        square = summary.x_variation
        if not self._fit_intercept:
            square = square + summary.weight * summary.x_mean**2
        y = summary.y_mean if self._loss.has_conjugate else np.zeros_like(summary.y_mean)
        return summary.x_mean, y, _scale(square, summary.weight)

    def task(self, block, data, metric, x, z, u, rho, place):
        """`black_box_update` from the block's last solution."""
        curvature = self.curvature * self._weights[block] / self.statistics.weight
        return black_box_update, (data, self._loss, metric, x, z, u, rho, curvature)

    def question(self, beta):
        """`sums` at `beta`."""
        self._asked = self.statistics  # of the blocks that will answer
        return sums, (self._loss, beta)

    def certificate(self, beta, answers) -> Certificate:
        """The duality gap of the rows that have answered, where the loss has a conjugate.

        The dual point is theta, the derivative of the loss at the residuals, moved to sum
        to zero if there is an intercept, and scaled into ``|X^T theta| <= n alpha`` (times the
        penalty's weights) and ``|theta| <= delta``.
        """
        total = add_sums(answers)
        asked = self._asked
        weight, k = asked.weight, len(asked.x_mean)
        self._curved = total.curved / weight
        coef = beta[:k]
        intercept = beta[k] if self._fit_intercept else np.zeros(coef.shape[1])
        penalty = self._penalty.value(coef)
        loss = total.loss
        # Scaling makes no dual point feasible where the penalty allows no correlation.
        if not self._loss.has_conjugate or self._penalty.alpha == 0:
            return Certificate(coef, intercept, loss / weight + penalty, None)
        shift = total.theta / weight if self._fit_intercept else np.zeros_like(intercept)
        theta_y = total.theta_y - shift * weight * asked.y_mean
        theta_theta = total.theta_theta - weight * shift**2
        correlations = total.x_theta - weight * np.outer(asked.x_mean, shift)
        if self._fit_intercept:
            correlations[asked.x_variation == 0] = 0.0
        delta = self._loss.delta
        if np.isinf(delta):
            # The shift of the residuals is the best intercept's too.
            intercept, loss = intercept + shift, 0.5 * theta_theta
        # How far the dual point moves, at most, before it is scaled.
        moved = np.abs(shift)
        objective = loss / weight + penalty
        if len(self._free):
            step = self._orthogonal(correlations)
            moved = moved + np.abs(step).T @ asked.free.largest * (1 + self._fit_intercept)
            theta_y = theta_y - (step * self._free_y()).sum(axis=0)
            theta_theta = theta_theta - (step * correlations[self._free]).sum(axis=0)
            correlations = correlations - self._free_x().T @ step
            norms = np.sqrt(np.diagonal(self._free_x()[:, self._free]))
            left = np.abs(correlations[self._free])
            lost = (left > ORTHOGONAL * np.outer(norms, np.sqrt(total.theta_theta))).any(axis=0)
            theta_y = np.where(lost, 0.0, theta_y)  # of the dual point zero
        tiny = np.finfo(float).tiny
        weights = self._penalty.column_weights(k)
        sizes = np.where(weights == 0, np.inf, weights)[:, np.newaxis]
        correlations = correlations / sizes
        largest = (correlations if self._penalty.positive else np.abs(correlations)).max(axis=0)
        best = theta_y / np.maximum(theta_theta, tiny)
        in_box = np.inf if np.isinf(delta) else delta / (delta + moved)
        with np.errstate(over="ignore"):  # infinite, where nothing is correlated
            feasible = np.minimum(self._penalty.alpha * weight / np.maximum(largest, tiny), in_box)
        scale = np.clip(best, 0.0, feasible)
        dual = (scale * theta_y - 0.5 * scale**2 * theta_theta) / weight
        return Certificate(coef, intercept, objective, objective - np.clip(dual, 0.0, objective))

    def _orthogonal(self, correlations):
        """Coefficients (f, m) of the unpenalised columns that the dual point is moved by."""
        gram = self._free_x()[:, self._free]
        return LeastSquares(gram, None, self._asked.weight).solve(correlations[self._free])

    def _free_x(self):
        """Products of the unpenalised columns with all, about zero without an intercept."""
        asked = self._asked
        if self._fit_intercept:
            return asked.free.x
        return asked.free.x + asked.weight * np.outer(asked.x_mean[self._free], asked.x_mean)

    def _free_y(self):
        asked = self._asked
        if self._fit_intercept:
            return asked.free.y
        return asked.free.y + asked.weight * np.outer(asked.x_mean[self._free], asked.y_mean)
