"""Consensus ADMM: the model of a fit with ``polish=False``, and of every loss without statistics.

One vector per block, ``s_i = x_i + u_i``, the Douglas-Rachford variable (Boyd, Parikh,
Chu, Peleato & Eckstein 2011, section 7.1; over-relaxation section 3.4.3), and their
running sum. A block's task is a proximal step of its own part of the loss (`blocks`), the
estimate a proximal step of the penalty at the mean of the reported blocks' s_i.

Everything below is in the coordinates of a `Metric`. There the curvature of a block is
near its weight in every direction, and ``rho`` is relative to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..places.place import Future, Place
from ..problem.metric import Metric
from ..rows.losses import Sums
from ..rows.statistics import Statistics
from ..rows.summary import Summary
from .anderson import Anderson
from .blocks import FromRows, FromStatistics
from .columns import in_units
from .fit import Fit, Problem, Settings, drive

# Residual balancing is for a rho that is far off: a change costs the sweeps, and Anderson's
# memory, that the iteration needs to settle again, and residuals that are less than a
# hundred times apart are no sign of a better rho. It is looked for after this sweep and
# whenever their number has doubled, so that rho settles, which is what the proofs need.
_BALANCING_SWEEP = 10
_BALANCING_RATIO = 100.0
_CURVATURE_RATIO = 3.0
# The most sweeps without a certificate where it costs a look at all rows.
_SWEEPS_UNASKED = 5
# See `Consensus.updates_per_report`.
_UPDATES_FROM_STATISTICS, _UPDATES_FROM_ROWS = 10, 2
# While blocks join, a certificate whenever they have grown by this factor: it looks at all.
_GROWTH = 1.1
_TINY = np.finfo(float).tiny


def fit(
    place: Place, problem: Problem, settings: Settings, observe: Observer, by_rows: bool = False
) -> Fit:
    """Fit the rows of a place by consensus ADMM, from their statistics or by raw rows."""
    record, n_before = Record(observe), int(problem.penalty.standardize)
    problem = in_units(place, problem)
    local = FromRows(place, problem) if by_rows else FromStatistics(place, problem)
    blocks = local.load()
    model = Consensus(local, problem, settings, len(blocks.reports))
    found = drive(place, blocks, model, settings, record)
    return found._replace(n_passes=n_before + found.n_passes)


class Sent(NamedTuple):
    """What a block's task was computed from."""

    generation: int  # of rho and metric
    z: np.ndarray


class Question(NamedTuple):
    """A frozen estimate, and what the blocks of that moment are asked about it."""

    beta: np.ndarray
    task: tuple | None  # (function, arguments after the block's data)
    blocks: list[int]
    final: bool  # whether its answer may end the fit
    row: dict  # of the history, but for what the answers tell
    residual: float  # the larger of both residuals, relative
    answers: list


class Consensus:
    """The state of consensus ADMM on the client, O(k) a result."""

    wants_updates = True

    def __init__(
        self, local: FromStatistics | FromRows, problem: Problem, settings: Settings, n_blocks: int
    ) -> None:
        self._local = local
        self._penalty, self._fit_intercept = problem.penalty, problem.fit_intercept
        self._dtype, self._tol, self._rho = settings.dtype, settings.tol, settings.rho
        self._over_relaxation, self._coef_init = settings.over_relaxation, settings.coef_init
        self._n_blocks = n_blocks
        self._balance_at = _BALANCING_SWEEP if self._rho == "auto" else np.inf
        # Of primal to dual residual, logarithms, since the last look.
        self._ratios: list[float] = []
        self._metric = None
        self._generation = 0
        self._new: list[int] = []  # blocks that have reported since the last z
        self._s: dict[int, np.ndarray] = {}  # block -> s_i, of shape (d, m)
        self._x: dict[int, np.ndarray] = {}  # block -> x_i, where the next update starts
        self._primal: dict[int, float] = {}  # block -> ||x_i - z||^2 when it last reported
        # block -> s_i before its update, for updates from the current z
        self._round: dict[int, np.ndarray] = {}
        self._anderson = Anderson()
        self._next_check = 0
        self._question = None
        self._unsent = None
        self._n_looked = 0  # blocks at the last look at their residuals
        self._asked_at = 0, 0  # blocks and updates at the last question
        self._last_residual = None  # the last relative gap, and the residual it came with
        self._all_in_metric = False
        self.converged = False
        self.estimate: Estimate | None = None
        self.rho = np.nan

    # -- reports ---------------------------------------------------------------------

    @property
    def updates_per_report(self) -> int:
        """Updates that are sent for each block that has reported, as long as others have not.

        On a worker they go before blocks that are still to be read, which would never have a
        turn if updates took as long as reading.
        """
        return _UPDATES_FROM_STATISTICS if self._local.answers_are_free else _UPDATES_FROM_ROWS

    @property
    def samples_seen(self) -> int:
        return self._local.samples_seen

    @property
    def statistics(self) -> Statistics | Summary | None:
        """What is known of all rows that have reported; None before the first."""
        return self._local.statistics

    @property
    def null_loss(self) -> np.ndarray:
        """What `tol` is relative to, one per target: ``||y||^2 / n`` for the squared loss."""
        return self._local.null_loss

    def has_block(self, block: int) -> bool:
        return block in self._s

    def absorb_report(self, block: int, report: Any) -> None:
        """A block that has not reported is absent, not zero: it joins at the estimate."""
        self._local.absorb(block, report)
        self._new.append(block)

    def _join(self):
        """Give a state to the blocks that have reported since the last z."""
        if self._metric is None:
            self._set_metric()
        self._anderson.reset()
        for block in self._new:
            self._s[block] = self._x[block] = self._z
            self._sum = self._sum + self._z
            self._primal[block] = 0.0
        self._new = []

    def _set_metric(self):
        x_shift, y_shift, scale = self._local.standardise()
        k, m = len(x_shift), len(y_shift)
        if not self._fit_intercept:
            x_shift, y_shift = np.zeros(k), np.zeros(m)
        self._metric = Metric(0, x_shift, y_shift, scale, self._fit_intercept)
        self.rho = self._rho_began = self._rho_for(k)
        self._z = np.zeros((k + self._fit_intercept, m))
        if self._coef_init is not None:
            self._z[:k] = self._metric.of_coef(self._coef_init)
        self._z_checked = self._z
        self._sum = np.zeros_like(self._z)

    def _rho_for(self, k):
        if self._rho == "auto":
            # Blocks with fewer rows than columns have all their curvature in few
            # directions: rho goes half way (geometrically) to what it is there.
            rows = self.samples_seen / (len(self._s) + len(self._new))
            relative = np.sqrt(max(1.0, k / rows))
        else:
            relative = self._rho * self._n_blocks
        return relative * (self._local.curvature or 1.0) / (len(self._s) + len(self._new))

    def _rescale(self, scale, rho):
        """Change the metric and rho in place.

        Of ``s_i = z + u_i`` the first part is a point and scales with the columns; the
        second is a gradient over rho and scales against both.
        """
        point = np.ones((len(self._z), 1))
        both = np.isfinite(scale) & np.isfinite(self._metric.scale)
        np.divide(scale, self._metric.scale, out=point[: len(scale), 0], where=both)
        dual = self.rho / (rho * point)
        z = self._z * point
        self._s = {b: z + (s - self._z) * dual for b, s in self._s.items()}
        self._x = {b: x * point for b, x in self._x.items()}
        self._z, self._sum = z, sum(self._s.values())
        self._z_checked = self._z_checked * point
        if not np.array_equal(scale, self._metric.scale):
            self._metric = self._metric._replace(epoch=self._metric.epoch + 1, scale=scale)
        self.rho = rho
        self._generation += 1
        self._round = {}
        self._anderson.reset()

    # -- updates ---------------------------------------------------------------------

    def task(self, block: int, data: Future) -> tuple[Sent, Callable, tuple]:
        """What to send for `block`: the proximal step from the current z."""
        u = self._s[block] - self._z
        task, args = self._local.task(
            block, data, self._metric, self._x[block], self._z - u, self.rho
        )
        return Sent(self._generation, self._z), task, args

    def absorb_update(self, block: int, sent: Sent, x: np.ndarray) -> None:
        """Move s_i by the step from the z that the task was sent, not the current one."""
        if sent.generation != self._generation:
            return  # for a rho or in coordinates that are no more; the block is sent again
        if sent.z is self._z:
            self._round[block] = self._s[block]
        step = x - sent.z
        move = self._over_relaxation * step
        self._s[block] = self._s[block] + move
        self._x[block] = x
        self._sum = self._sum + move
        self._primal[block] = float(np.vdot(step, step))

    def update(self, n_updates: int) -> dict | None:
        """The z-update, and once a sweep the certificate."""
        if self.statistics is None or self.statistics.weight == 0:
            return None
        joined = bool(self._new)
        if joined:
            self._join()
        if len(self._round) == len(self._s):
            self._accelerate()
        self._round = {}
        self._renew()
        n = len(self._s)
        grown = joined and (n >= _GROWTH * self._n_looked or n == self._n_blocks)
        if self._question is None and (grown or n_updates >= self._next_check):
            if n_updates >= self._next_check:
                self._next_check = n_updates + self._n_blocks
            self._ask(n_updates)
        return self.certify()

    def _renew(self):
        """The z-update: a proximal step of the penalty."""
        k = len(self._metric.scale)
        z = self._sum / len(self._s)
        share = self.statistics.weight / (self.rho * len(self._s))
        z[:k] = self._penalty.prox(z[:k], share, self._metric.scale)
        self._z = z

    def _accelerate(self):
        """After a whole sweep from one z, all s_i are the image of a fixed-point map."""
        blocks = list(self._s)
        point = np.concatenate([self._round[block].ravel() for block in blocks])
        image = np.concatenate([self._s[block].ravel() for block in blocks])
        following = self._anderson.next(point, image).reshape(len(blocks), *self._z.shape)
        self._s = dict(zip(blocks, following, strict=True))
        self._sum = following.sum(axis=0)

    # -- certificates ----------------------------------------------------------------

    def _ask(self, n_updates, final=False):
        """Freeze the estimate and its residuals (Boyd et al. 2011, section 3.3)."""
        n = self._n_looked = len(self._s)
        primal = np.sqrt(sum(self._primal.values()))
        # Over a sweep: the change by a single result is small however far there is to go.
        dual = np.sqrt(n) * np.linalg.norm(self._z - self._z_checked)
        self._z_checked = self._z
        # Both residuals over rho are steps in v, so each is relative to the larger of the
        # two sizes, z and u; then neither an optimum at zero nor blocks that agree are a
        # special case.
        points = np.sqrt(n) * np.linalg.norm(self._z)
        duals = np.sqrt(sum(np.vdot(s - self._z, s - self._z) for s in self._s.values()))
        size = max(points, duals, _TINY)
        residual = max(primal, dual) / size
        complete = n == self._n_blocks
        if final or self._local.answers_are_free or self._is_due(n, n_updates, residual):
            self._asked_at = n, n_updates
            # What is certified is what the user gets.
            beta = self._metric.to_beta(self._z)
            beta = self._penalty.rounded(beta, len(self._metric.scale), self._dtype)
            self._question = self._unsent = Question(
                beta=beta,
                task=self._local.question(beta),
                blocks=list(self._s),
                final=self._all_in_metric and n_updates >= self._n_blocks,
                row={
                    "samples_seen": self.samples_seen,
                    "primal_residual": primal,
                    "dual_residual": self.rho * dual,
                    "rho": self.rho,
                },
                residual=residual,
                answers=[],
            )
        if complete:
            # Relative residuals (Wohlberg 2017), so that neither depends on units: the log of
            # (primal / points) / (dual / duals), each of which may be zero.
            over, under = np.log(np.maximum([[primal, duals], [dual, points]], _TINY)).sum(axis=1)
            self._adapt(n_updates, over - under)

    def _is_due(self, n_reported, n_updates, residual):
        """Whether a look at all rows is worth its cost now."""
        blocks_then, updates_then = self._asked_at
        if n_reported > blocks_then:
            # While blocks join, as often as their number doubles.
            return n_reported >= 2 * blocks_then or n_reported == self._n_blocks
        if n_updates >= updates_then + _SWEEPS_UNASKED * self._n_blocks:
            return True
        if self._last_residual is None:
            return residual <= self._tol
        # Of the gap, the part that is due to the dual point shrinks with the residuals and
        # the part that is due to z with their square; the latter is the hope.
        gap, then = self._last_residual
        return gap * residual**2 <= self._tol * then**2

    def question(self) -> Question | None:
        """What the blocks have to be asked now; each question once."""
        question, self._unsent = self._unsent, None
        return question if question is not None and question.task is not None else None

    def absorb_answer(self, question: Question, answer: Sums) -> None:
        """One block's part of the certificate."""
        question.answers.append(answer)

    def certify(self) -> dict | None:
        """The certificate of the frozen estimate, once all blocks have answered."""
        question = self._question
        if question is None:
            return None
        if question.task is not None and len(question.answers) < len(question.blocks):
            return None
        self._question = None
        found = self._local.certificate(question.beta, question.answers)
        if found.gap is None:
            nothing = np.full(len(found.intercept), np.nan)
            self.estimate = Estimate(found.coef, found.intercept, nothing, "residuals")
            within = question.residual <= self._tol
        else:
            self.estimate = Estimate(found.coef, found.intercept, found.gap)
            with np.errstate(over="ignore"):  # the first block may be a single row
                relative = found.gap / np.maximum(self.null_loss, _TINY)
            within = (found.gap <= self._tol * self.null_loss).all()
            self._last_residual = float(relative.max()), question.residual
        self.converged = bool(question.final and within)
        return {**question.row, "objective": found.objective.sum()}

    def _adapt(self, n_updates, imbalance):
        """Once all blocks are in, the metric of all; then the rho that its residuals ask for.

        `imbalance` is the log of the primal over the dual relative residual.
        """
        if not self._all_in_metric:
            self._all_in_metric = True
            scale, before = self._local.standardise()[2], self._metric.scale
            stays = (scale < 1.5 * before) & (before < 1.5 * scale)
            if not (stays | (scale == before)).all():
                self._rho_began = self._rho_for(len(scale))
                self._rescale(scale, self._rho_began)
            return
        if self._rho != "auto":
            return
        # The loss may have turned out to be far more curved than where it began.
        rho = self._rho_for(len(self._metric.scale))
        early = self._balance_at == _BALANCING_SWEEP
        if early and not 1 / _CURVATURE_RATIO < rho / self._rho_began < _CURVATURE_RATIO:
            self._rho_began = rho
            self._ratios = []
            self._rescale(self._metric.scale, rho)
            return
        # The median of many, for with acceleration they jump.
        self._ratios.append(imbalance)
        if n_updates < self._balance_at * self._n_blocks:
            return
        ratio = np.median(self._ratios[len(self._ratios) // 2 :])
        self._ratios = []
        self._balance_at *= 2
        if abs(ratio) > np.log(_BALANCING_RATIO):
            step = np.exp(np.clip(ratio / 2, -np.log(10), np.log(10)))
            self._rescale(self._metric.scale, self.rho * step)

    def conclude(self) -> dict | None:
        """Ask for a certificate of the current z, whatever has been asked before."""
        if self.statistics is None or self.statistics.weight == 0:
            return None
        if self._new:
            self._join()
        self._ask(0, final=True)
        return self.certify()
