"""Consensus ADMM: the model of a fit with ``polish=False``, and of every loss without statistics.

One vector per block, ``s_i = x_i + u_i``, the Douglas-Rachford variable (Boyd, Parikh,
Chu, Peleato & Eckstein 2011, section 7.1; over-relaxation section 3.4.3), and their
running sum. A block's task is a proximal step of its own part of the loss (`blocks`), the
estimate a proximal step of the penalty at the mean of the reported blocks' s_i.

Everything below is in the coordinates of a `Metric`, in which ``||v||^2 = w.H w`` with H the mean
curvature of the loss, as far as the blocks that have reported tell. So a sweep brings all
directions equally near, and the number of sweeps is a matter of how *unlike the blocks* are, not
of how correlated the columns. What blocks differ by is in `rho` (`Likeness`). The estimate is then
a lasso of k rows (`problem.nearest`), exactly solved, so that it is a proximal step still.

With one H and one rho, a sweep is a map of all s_i that is averaged in the norm of H: that of
Douglas-Rachford splitting of ``sum_i f_i(x_i)`` and "penalty, and all x_i equal", in the Hilbert
space whose inner product is H's, once for each block; what is proved of proximal steps holds
in any (Bauschke & Combettes 2017, chapter 26). So whole sweeps converge for every H, and
updates of single blocks from old estimates do as they do without H (ARock: Peng, Xu, Yan & Yin
2016, whose blocks are coordinates of a product of Hilbert spaces; Wu, Liu, Magnusson & Johansson
2023). A change of H or of rho is the start of another map with the same solutions: each s_i is
carried over as ``z + u_i``, a point and a gradient, and updates that were sent before it are not
taken. They are few, which is all that the proofs ask for (He, Yang & Wang 2000): where it matters,
one whenever the rows that have reported have doubled, one with the last of them, and for a
loss whose curvature depends on the estimate ever fewer, after 2, 8, 32... sweeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..engines.record import Estimate, Observer, Record
from ..places.place import Future, Place
from ..problem.nearest import Nearest
from ..rows.losses import Sums
from ..rows.statistics import Statistics
from ..rows.summary import Summary
from .anderson import Anderson
from .blocks import FromRows, FromStatistics
from .columns import in_units
from .fit import Fit, Problem, Settings, drive
from .proximal import Moved, bent, update_and_answer

# A metric is renewed where another is further from it than this (`Metric.distance`), or its rho.
_NEAR, _NEAR_RHO = 1.0, 1.5
# Sweeps after which the curvature of a loss is looked at again, and by how much later each time;
# if along an update its gradient changes so much more at one end than at the other.
_CURVED_SWEEP, _CURVED_LATER, _BENT = 2, 4, 3e-3
# The most sweeps without a certificate where it costs a look at all rows.
_SWEEPS_UNASKED = 5
# See `Consensus.updates_per_report`.
_UPDATES_FROM_STATISTICS, _UPDATES_FROM_ROWS = 5, 2
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
    question: Question | None = None  # that goes along


class Question(NamedTuple):
    """A frozen estimate, and what the blocks of that moment are asked about it."""

    beta: np.ndarray
    task: tuple | None  # (function, arguments after the block's data)
    blocks: list[int]
    final: bool  # whether its answer may end the fit
    row: dict  # of the history, but for what the answers tell
    residual: float  # the larger of both residuals, relative
    is_settled: bool  # whether all blocks have moved since the last change of rho or metric
    answers: list
    unasked: set[int]  # blocks whose next update brings the answer along


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
        self._curved_at = _CURVED_SWEEP * n_blocks if not local.is_quadratic else np.inf
        self._metric: Any = None  # a `Metric`, once a block has reported
        self._generation = 0
        self._new: list[int] = []  # blocks that have reported since the last z
        self._s: dict[int, np.ndarray] = {}  # block -> s_i, of shape (d, m)
        self._x: dict[int, Moved] = {}  # block -> x_i, where the next update starts
        self._n_evaluations = 0  # of blocks' losses
        self._bend = 0.0, 0.0  # what their values differ by from quadratics, and change by
        self._primal: dict[int, float] = {}  # block -> ||x_i - z||^2 when it last reported
        self._unmoved: set[int] = set()  # blocks of which residuals say nothing yet
        # block -> s_i before its update, for updates from the current z
        self._round: dict[int, np.ndarray] = {}
        self._anderson = Anderson()
        self._next_check = 0
        self._question = None
        self._unsent = None
        self._n_looked = 0  # blocks at the last look at their residuals
        self._asked_at = 0, 0  # blocks and updates at the last question
        self._last_residual = None  # the last relative gap, and the residual it came with
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
        elif self._is_outgrown:
            self._renew_metric()
        self._anderson.reset()
        for block in self._new:
            self._s[block], self._x[block] = self._z, Moved(self._z)
            self._sum = self._sum + self._z
            self._primal[block] = 0.0
        self._unmoved.update(self._new)
        self._new = []

    @property
    def _is_outgrown(self):
        """Whether the metric is of half of the rows at most, or of fewer than all."""
        of = self._rows_in_metric
        is_complete = len(self._s) + len(self._new) == self._n_blocks
        return self.samples_seen >= 2 * of or (is_complete and self.samples_seen > of)

    def _set_metric(self):
        self._metric = self._local.metric(0)
        self._nearest = Nearest(self._metric, self._penalty)
        self._rows_in_metric = self.samples_seen
        self._spread = self._local.spread(self._metric)
        self.rho = self._rho_for()
        k, m = len(self._metric.scale), len(self._metric.y_shift)
        self._coef = np.zeros((k, m)) if self._coef_init is None else self._coef_init
        self._z = np.zeros((k + self._fit_intercept, m))
        self._z[:k] = self._metric.of_coef(self._coef)
        self._z_checked = self._z
        self._sum = np.zeros_like(self._z)

    def _renew_metric(self):
        """The metric of all that is known now, where it is another."""
        metric = self._local.metric(self._metric.epoch + 1)
        self._rows_in_metric = self.samples_seen
        if metric.distance(self._metric) < _NEAR:
            metric = self._metric
        self._spread = self._local.spread(metric)
        rho = self._rho_for()
        if metric is not self._metric or not 1 / _NEAR_RHO < rho / self.rho < _NEAR_RHO:
            self._rescale(metric, rho)

    def _rho_for(self):
        if self._rho == "auto":
            # Blocks with fewer rows than columns have all their curvature in few
            # directions: rho goes half way (geometrically) to what it is there; and so it does
            # in a metric of all columns for the direction that blocks differ most in.
            rows = self.samples_seen / (len(self._s) + len(self._new))
            relative = max(self._spread, np.sqrt(len(self._metric.scale) / rows))
        else:
            relative = self._rho * self._n_blocks
        return relative * (self._local.curvature or 1.0) / (len(self._s) + len(self._new))

    def _rescale(self, metric, rho):
        """Change the metric and rho in place.

        Of ``s_i = z + u_i`` the first part is a point, the second a gradient over rho.
        """
        before, share = self._metric, self.rho / rho

        def point(v):
            return metric.of_beta(before.to_beta(v))

        def dual(u):
            return share * metric.pull_back(before.push(u))

        if metric is before:
            point, dual = (lambda v: v), (lambda u: share * u)
        z = point(self._z)
        self._s = {b: z + dual(s - self._z) for b, s in self._s.items()}
        self._x = {b: Moved(point(moved.x)) for b, moved in self._x.items()}
        self._z, self._sum = z, sum(self._s.values())
        self._z_checked = point(self._z_checked)
        if metric is not before:
            self._metric, self._nearest = metric, Nearest(metric, self._penalty)
        self.rho = rho
        self._generation += 1
        self._unmoved = set(self._s)
        self._round = {}
        self._anderson.reset()

    # -- updates ---------------------------------------------------------------------

    def task(self, block: int, data: Future) -> tuple[Sent, Callable, tuple]:
        """What to send for `block`: the proximal step from the current z."""
        u = self._s[block] - self._z
        task, args = self._local.task(
            block, data, self._metric, self._x[block], self._z - u, self.rho
        )
        question = self._question
        if question is None or block not in question.unasked:
            return Sent(self._generation, self._z), task, args
        question.unasked.remove(block)
        answer, about = question.task
        args = (*args[:1], task, len(args) - 1, answer, *args[1:], *about)
        return Sent(self._generation, self._z, question), update_and_answer, args

    def absorb_update(self, block: int, sent: Sent, found: Any) -> None:
        """Move s_i by the step from the z that the task was sent, not the current one."""
        moved = found  # a `Moved`, perhaps with an answer
        if sent.question is not None:
            moved, answer = found
            self.absorb_answer(sent.question, answer)
        self._n_evaluations += moved.n_evaluations
        if sent.generation != self._generation:
            return  # for a rho or in coordinates that are no more; the block is sent again
        if sent.z is self._z:
            self._round[block] = self._s[block]
        self._bend = bent(self._bend, self._x[block], moved)
        step = moved.x - sent.z
        move = self._over_relaxation * step
        self._s[block] = self._s[block] + move
        self._x[block] = moved
        self._sum = self._sum + move
        self._primal[block] = float(np.vdot(step, step))
        self._unmoved.discard(block)

    def _start_anew(self):
        """From no coefficients: those that were given are worse, and steps from there short."""
        self._z = self._z_checked = self._sum = np.zeros_like(self._z)
        self._coef = np.zeros_like(self._coef)
        self._s = dict.fromkeys(self._s, self._z)
        self._x = dict.fromkeys(self._x, Moved(self._z))
        self._generation += 1
        self._unmoved = set(self._s)
        self._round = {}
        self._anderson.reset()

    def update(self, n_updates: int) -> dict | None:
        """The z-update, and once a sweep the certificate."""
        if self.statistics is None or self.statistics.weight == 0:
            return None
        joined = bool(self._new)
        if joined:
            self._join()
        if (self._metric.root is None or not self._local.is_quadratic) and len(self._round) == len(
            self._s
        ):
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
        self._coef = self._nearest(z[:k], share, self._coef)
        z[:k] = self._metric.of_coef(self._coef)
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

    def _ask(self, n_updates, at_end=False):
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
        if at_end or self._local.answers_are_free or self._is_due(n, n_updates, residual):
            self._asked_at = n, n_updates
            with_curvature = False
            if complete and n_updates >= self._curved_at:
                self._curved_at = _CURVED_LATER * n_updates
                with_curvature = self._bend[0] > _BENT * self._bend[1]
            # What is certified is what the user gets.
            beta = self._metric.to_beta(self._z, self._coef)
            beta = self._penalty.rounded(beta, len(self._metric.scale), self._dtype)
            task = self._local.question(beta, with_curvature)
            # A message costs more than most answers, so they come with the next updates. While
            # others are being read, and at the end, blocks are not sent again.
            goes_along = complete and not at_end and task is not None
            self._question = self._unsent = Question(
                beta=beta,
                task=task,
                blocks=list(self._s),
                final=complete and n_updates >= self._n_blocks,
                row={
                    "samples_seen": self.samples_seen,
                    "primal_residual": primal,
                    "dual_residual": self.rho * dual,
                    "rho": self.rho,
                    "n_evaluations": self._n_evaluations,
                },
                residual=residual,
                is_settled=not self._unmoved,
                answers=[],
                unasked=set(self._s) if goes_along else set(),
            )

    def _is_due(self, n_reported, n_updates, residual):
        """Whether a look at all rows is worth its cost now."""
        blocks_then, updates_then = self._asked_at
        if n_reported > blocks_then:
            # While blocks join, as often as their number doubles.
            return n_reported >= 2 * blocks_then or n_reported == self._n_blocks
        if n_updates >= self._curved_at:
            return True
        if n_updates >= updates_then + _SWEEPS_UNASKED * self._n_blocks:
            return True
        if self._last_residual is None:
            return residual <= self._tol
        # Of the gap, the part that is due to the dual point shrinks with the residuals and
        # the part that is due to z with their square; the latter is the hope. The first gaps may
        # be too large to be multiplied.
        gap, then = self._last_residual
        return np.sqrt(gap) * residual <= np.sqrt(self._tol) * then

    def question(self) -> Question | None:
        """What the blocks have to be asked by itself; each question once."""
        question, self._unsent = self._unsent, None
        if question is None or question.task is None or question.unasked:
            return None
        return question

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
        if self._coef_init is not None:
            self._coef_init = None
            if not np.sum(found.excess) <= np.sum(self.null_loss):
                self._start_anew()
        if found.gap is None:
            nothing = np.full(len(found.intercept), np.nan)
            self.estimate = Estimate(found.coef, found.intercept, nothing, "residuals")
            within = question.is_settled and question.residual <= self._tol
        else:
            self.estimate = Estimate(found.coef, found.intercept, found.gap)
            with np.errstate(over="ignore"):  # the first block may be a single row
                relative = found.gap / np.maximum(self.null_loss, _TINY)
            within = (found.gap <= self._tol * self.null_loss).all()
            self._last_residual = float(relative.max()), question.residual
        self.converged = bool(question.final and within)
        if question.final and not (self._local.is_quadratic or self.converged):
            self._renew_metric()
        return {**question.row, "objective": found.objective.sum()}

    def conclude(self) -> dict | None:
        """Ask for a certificate of the current z, whatever has been asked before."""
        if self.statistics is None or self.statistics.weight == 0:
            return None
        if self._new:
            self._join()
        self._ask(0, at_end=True)
        return self.certify()
