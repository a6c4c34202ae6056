"""What every solver is handed, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..engines.record import Estimate, Record
from ..engines.run import Blocks, Model, Run
from ..engines.schedules import Engine
from ..places.place import Place
from ..problem.concave import Concave
from ..problem.losses import SQUARED, Loss, Pair
from ..problem.penalties import L1, Plugged
from ..problem.softmax import Softmax
from ..rows.columns import ColumnMoments
from ..rows.statistics import Statistics
from ..rows.summary import Summary

AnyPenalty = L1 | Plugged | Concave


class Problem(NamedTuple):
    """The objective: a mean loss over the rows, and a penalty."""

    penalty: AnyPenalty
    fit_intercept: bool
    loss: Loss | Pair | Softmax = SQUARED

    @property
    def row_loss(self) -> Loss | Pair:
        """The loss, for solvers that know no softmax."""
        if isinstance(self.loss, Softmax):
            raise ValueError(
                "polish=False is of two classes: several are fitted by Newton's method alone."
            )
        return self.loss

    @property
    def l1_penalty(self) -> L1:
        """The penalty, for solvers that know no other."""
        if not isinstance(self.penalty, L1):
            raise ValueError("This needs penalty='l1'.")
        return self.penalty

    @property
    def convex_penalty(self) -> L1 | Plugged:
        """The penalty, for solvers that know no concave one."""
        if isinstance(self.penalty, Concave):
            raise ValueError("This needs a convex penalty.")
        return self.penalty

    def in_units(self, squares: np.ndarray, n: float) -> Problem:
        """The problem of columns of these sums of squares; as `L1.in_units`."""
        if not self.penalty.standardize:
            return self
        return self._replace(penalty=self.l1_penalty.in_units(squares, n))


@dataclass(frozen=True)
class Settings:
    """How a problem is solved; as in the estimators.

    Attributes
    ----------
    coef_init : ndarray of shape (k, m) or None
    dtype : dtype
        Of which the coefficients are values.
    settled : float or None
        What Newton's decrement, relative to the null loss, may be at the end; None is as small as
        rounding allows.
    """

    engine: Engine
    tol: float
    max_iter: int
    max_staleness: int | None = None
    random_state: np.random.RandomState | None = None
    rho: float | str = "auto"
    over_relaxation: float = 1.6
    coef_init: np.ndarray | None = None
    dtype: type | np.dtype = np.float64
    settled: float | None = None


class Fit(NamedTuple):
    """The result of a fit.

    Attributes
    ----------
    estimate : Estimate
    statistics : Statistics, ColumnMoments or Summary
        Of all rows that the estimate is of.
    null_loss : ndarray of shape (m,)
        What `tol` is relative to.
    converged : bool
        Whether the certificate ended the fit.
    n_samples_seen, n_passes : int
    n_updates : int
        Updates of blocks, or solutions.
    history : dict of ndarray
    staleness : ndarray of shape (n_blocks,)
    stopped_by : str or None
        "max_time", "max_iter", "callback", "engine", "size", "standstill", "dependence"; None
        where it ended by itself.
    n_missing : int
        Blocks that have not been read.
    n_unconverged : int
        Solutions along paths whose gap is above `tol`.
    """

    estimate: Estimate
    statistics: Statistics | ColumnMoments | Summary
    null_loss: np.ndarray
    converged: bool
    n_samples_seen: int
    n_passes: int
    n_updates: int
    history: dict
    staleness: np.ndarray
    stopped_by: str | None = None
    n_missing: int = 0
    n_unconverged: int = 0

    @property
    def n_iter(self) -> int:
        """Sweeps over the blocks."""
        return max(1, self.n_updates // len(self.staleness))


def drive(place: Place, blocks: Blocks, model: Model, settings: Settings, record: Record) -> Fit:
    """Let the engine of the settings run a model on blocks, until it ends."""
    run = Run(place, blocks, model, settings, record)
    settings.engine.run(run)
    run.finish()
    return Fit(
        model.estimate,
        model.statistics,
        model.null_loss,
        model.converged,
        model.samples_seen,
        n_passes=1,  # every chunk is read once
        n_updates=run.n_updates,
        history=record.history,
        staleness=run.staleness,
        stopped_by=run.stopped_by,
        n_missing=run.n_missing,
        n_unconverged=getattr(model, "n_unconverged", 0),
    )
