"""Consensus ADMM: the model of a fit with ``polish=False``.

One vector per block, ``s_i = x_i + u_i``, the Douglas-Rachford variable (Boyd, Parikh,
Chu, Peleato & Eckstein 2011, section 7.1; over-relaxation section 3.4.3), and their
running sum. A block's task is a proximal step of its own part of the loss, the estimate
a proximal step of the penalty at the mean of the reported blocks' s_i.

Everything below is in standardised columns, ``v = w * scale``, about a fixed shift, with
an intercept as one more coordinate that is not penalised. So the curvature of a block is
near its weight in every direction, and ``rho`` is relative to that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

from . import _solve, _statistics
from ._anderson import Anderson

# The sweep after which rho may be adapted, once, and only where the residuals are far
# apart: a change costs the sweeps that the iteration needs to settle again, and a fixed
# rho afterwards is what the proofs need.
_BALANCING_SWEEP = 10
_BALANCING_RATIO = 10.0


class Metric(NamedTuple):
    """Coordinates that the blocks agree on; `epoch` counts their changes."""

    epoch: int
    x_shift: np.ndarray  # (k,)
    y_shift: np.ndarray  # (m,)
    scale: np.ndarray  # (k,)
    fit_intercept: bool


class Factor(NamedTuple):
    """One block's quadratic, diagonalised, so that a new rho costs nothing."""

    basis: np.ndarray  # (d, d)
    curvature: np.ndarray  # (d,)
    linear: np.ndarray  # (d, m), in that basis


class Sent(NamedTuple):
    """What a block's task was computed from."""

    generation: int  # of rho and metric
    z: np.ndarray


def factorize(statistics: _statistics.Statistics, metric: Metric) -> Factor:
    """Diagonalise a block's ``1/2 v.H v - g.v`` in the coordinates of `metric`."""
    weight = statistics.weight
    x = statistics.x_mean - metric.x_shift
    y = statistics.y_mean - metric.y_shift
    hessian = (statistics.sxx + weight * np.outer(x, x)) / np.outer(metric.scale, metric.scale)
    linear = (statistics.sxy + weight * np.outer(x, y)) / metric.scale[:, np.newaxis]
    if metric.fit_intercept:
        border = weight * x / metric.scale
        hessian = np.block([[hessian, border[:, np.newaxis]], [border, np.array([[weight]])]])
        linear = np.vstack([linear, weight * y])
    curvature, basis = linalg.eigh(hessian, check_finite=False)
    return Factor(basis, np.maximum(curvature, 0.0), basis.T @ linear)


def local_update(factor: Factor, point, rho: float):
    """``argmin_v f_i(v) + rho/2 ||v - point||^2``, the proximal step of one block."""
    rotated = factor.linear + rho * (factor.basis.T @ point)
    return factor.basis @ (rotated / (factor.curvature + rho)[:, np.newaxis])


class Consensus:
    """The state of consensus ADMM on the client, O(k) a result."""

    wants_updates = True

    def __init__(
        self,
        *,
        alpha,
        positive,
        fit_intercept,
        tol,
        n_blocks,
        rho,
        over_relaxation,
        coef_init,
    ):
        self._alpha = alpha
        self._positive = positive
        self._fit_intercept = fit_intercept
        self._tol = tol
        self._n_blocks = n_blocks
        self._rho = rho
        self._balance = rho == "auto"
        self._over_relaxation = over_relaxation
        self._coef_init = coef_init
        self._metric = None
        self._generation = 0
        self._factors = {}  # block -> (epoch, future)
        self._new = []  # blocks that have reported since the last z
        self._s = {}  # block -> s_i, of shape (d, m)
        self._primal = {}  # block -> ||x_i - z||^2 when it last reported
        self._primal_sum = 0.0
        self._round = {}  # block -> s_i before its update, for updates from the current z
        self._anderson = Anderson()
        self._next_check = 0
        self._all_in_metric = False
        self.statistics = None
        self.converged = False
        self.coef = self.gap = None
        self.rho = np.nan

    # -- reports ---------------------------------------------------------------------

    @property
    def samples_seen(self) -> int:
        return 0 if self.statistics is None else self.statistics.n_rows

    @property
    def n_reported(self) -> int:
        return len(self._s) + len(self._new)

    @property
    def null_loss(self):
        """What `tol` is relative to, one per target: ``||y||^2 / n``."""
        problem = _solve.moments(self.statistics, self._fit_intercept)
        return problem.yy / problem.weight

    def has_block(self, block) -> bool:
        return block in self._s

    def absorb_report(self, block, statistics):
        """A block that has not reported is absent, not zero: it joins at the estimate."""
        merged = [] if self.statistics is None else [self.statistics]
        self.statistics = _statistics.merge([*merged, statistics])
        self._new.append(block)

    def _join(self):
        """Give a state to the blocks that have reported since the last z."""
        if self._metric is None:
            self._set_metric()
        self._anderson.reset()
        for block in self._new:
            self._s[block] = self._z
            self._sum = self._sum + self._z
            self._primal[block] = 0.0
        self._new = []

    def _set_metric(self):
        x_shift, y_shift = self.statistics.x_mean, self.statistics.y_mean
        k, m = len(x_shift), len(y_shift)
        if not self._fit_intercept:
            x_shift, y_shift = np.zeros(k), np.zeros(m)
        scale, rho = self._scale_and_rho()
        self._metric = Metric(0, x_shift, y_shift, scale, self._fit_intercept)
        self.rho = rho
        self._z = np.zeros((k + self._fit_intercept, m))
        if self._coef_init is not None:
            self._z[:k] = self._coef_init * scale[:, np.newaxis]
        self._z_change = np.inf
        self._sum = np.zeros_like(self._z)

    def _scale_and_rho(self):
        problem = _solve.moments(self.statistics, self._fit_intercept)
        weight = self.statistics.weight
        scale = np.sqrt(np.diagonal(problem.gram) / (weight or 1.0))
        typical = scale[scale > 0].mean() if (scale > 0).any() else 1.0
        scale = np.where(scale > 1e-12 * typical, scale, typical)
        if self._rho == "auto":
            # Blocks with fewer rows than columns have all their curvature in few
            # directions: rho goes half way (geometrically) to what it is there.
            rows = self.statistics.n_rows / self.n_reported
            relative = np.sqrt(max(1.0, len(scale) / rows))
        else:
            relative = self._rho * self._n_blocks
        return scale, relative * (weight or 1.0) / self.n_reported

    def _rescale(self, scale, rho):
        """Change the metric and rho in place.

        Of ``s_i = z + u_i`` the first part is a point and scales with the columns; the
        second is a gradient over rho and scales against both.
        """
        point = np.ones((len(self._z), 1))
        point[: len(scale), 0] = scale / self._metric.scale
        dual = self.rho / (rho * point)
        z = self._z * point
        self._s = {b: z + (s - self._z) * dual for b, s in self._s.items()}
        self._z, self._sum = z, sum(self._s.values())
        if (point != 1).any():
            self._metric = self._metric._replace(epoch=self._metric.epoch + 1, scale=scale)
        self.rho = rho
        self._generation += 1
        self._round = {}
        self._anderson.reset()

    # -- updates ---------------------------------------------------------------------

    def task(self, block, report, place):
        """What to send for `block`: `local_update` at the current z."""
        epoch, factor = self._factors.get(block, (None, None))
        if epoch != self._metric.epoch:
            if factor is not None:
                place.release(factor)
            factor = place.submit(factorize, report, self._metric)
            self._factors[block] = (self._metric.epoch, factor)
        sent = Sent(self._generation, self._z)
        return sent, local_update, (factor, 2 * self._z - self._s[block], self.rho)

    def absorb_update(self, block, sent, x):
        """Move s_i by the step from the z that the task was sent, not the current one."""
        if sent.generation != self._generation:
            return  # for a rho or in coordinates that are no more; the block is sent again
        if sent.z is self._z:
            self._round[block] = self._s[block]
        step = x - sent.z
        move = self._over_relaxation * step
        self._s[block] = self._s[block] + move
        self._sum = self._sum + move
        primal = float(np.vdot(step, step))
        self._primal_sum += primal - self._primal[block]
        self._primal[block] = primal

    def update(self, n_updates):
        """The z-update, and once a sweep the certificate."""
        if self.statistics is None or self.statistics.weight == 0:
            return None
        joined = bool(self._new)
        if joined:
            self._join()
        if len(self._round) == len(self._s):
            self._accelerate()
        self._round = {}
        k = len(self._metric.scale)
        z = self._sum / len(self._s)
        threshold = self._alpha * self.statistics.weight / (self.rho * len(self._s))
        threshold = threshold / self._metric.scale[:, np.newaxis]
        if self._positive:
            z[:k] = np.maximum(z[:k] - threshold, 0.0)
        else:
            z[:k] = np.sign(z[:k]) * np.maximum(np.abs(z[:k]) - threshold, 0.0)
        self._z_change = float(np.linalg.norm(z - self._z))
        self._z = z
        if n_updates < self._next_check and not joined:
            return None
        self._next_check = n_updates + self._n_blocks
        return self._check(n_updates)

    def _accelerate(self):
        """After a whole sweep from one z, all s_i are the image of a fixed-point map."""
        blocks = list(self._s)
        point = np.concatenate([self._round[block].ravel() for block in blocks])
        image = np.concatenate([self._s[block].ravel() for block in blocks])
        following = self._anderson.next(point, image).reshape(len(blocks), *self._z.shape)
        self._s = dict(zip(blocks, following, strict=True))
        self._sum = following.sum(axis=0)

    def _check(self, n_updates):
        problem = _solve.moments(self.statistics, self._fit_intercept)
        self.coef = self._z[: len(self._metric.scale)] / self._metric.scale[:, np.newaxis]
        self.gap = _solve.duality_gap(problem, self.coef, self._alpha, positive=self._positive)
        value = _solve.objective(problem, self.coef, self._alpha)
        complete = len(self._s) == self._n_blocks
        within = self.gap <= self._tol * problem.yy / problem.weight
        self.converged = bool(complete and n_updates and within.all())
        row = {
            "samples_seen": self.samples_seen,
            "objective": value.sum(),
            "primal_residual": np.sqrt(max(self._primal_sum, 0.0)),
            "dual_residual": self.rho * np.sqrt(len(self._s)) * self._z_change,
            "rho": self.rho,
        }
        if not self.converged:
            self._adapt(n_updates, complete)
        return row

    def _adapt(self, n_updates, complete):
        """Once all blocks are in, the metric of all; residual balancing in the first sweeps."""
        if complete and not self._all_in_metric:
            self._all_in_metric = True
            scale, rho = self._scale_and_rho()
            if np.abs(np.log(scale / self._metric.scale)).max() > np.log(1.5):
                self._rescale(scale, rho)
            return
        sweeps = n_updates // self._n_blocks
        if not (self._balance and complete and sweeps >= _BALANCING_SWEEP):
            return
        self._balance = False
        # Relative residuals (Wohlberg 2017), so that neither depends on units.
        n = len(self._s)
        size = max(np.sqrt(n) * np.linalg.norm(self._z), np.finfo(float).tiny)
        duals = np.sqrt(sum(np.vdot(s - self._z, s - self._z) for s in self._s.values()))
        primal = np.sqrt(max(self._primal_sum, 0.0)) / size
        dual = np.sqrt(n) * self._z_change / max(duals, np.finfo(float).tiny)
        ratio = primal / max(dual, np.finfo(float).tiny)
        if not 1 / _BALANCING_RATIO < ratio < _BALANCING_RATIO:
            self._rescale(self._metric.scale, self.rho * np.clip(np.sqrt(ratio), 0.1, 10.0))

    def estimate(self):
        """Make `coef` and `gap` those of the current z."""
        if self.statistics is None or self.statistics.weight == 0:
            return None
        return self._check(0)
