"""What the estimators of a given alpha share: fits, and the choice of a solver."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import numpy as np

from ..engines.record import Observer
from ..places.input import Given
from ..places.place import Place
from ..problem.losses import Pair, is_squared
from ..solvers import admm, exact, newton, working_set
from ..solvers.fit import Fit
from ..solvers.width import check_width, is_wide
from .base import LinearBase
from .callbacks import with_callbacks
from .parameters import OfAlpha


class AtAlpha(LinearBase, OfAlpha):
    """What the estimators of a given alpha share."""

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> Self:
        """Fit the model, in one pass over the rows or a handful (`n_passes_`).

        Parameters
        ----------
        X : {array-like, sparse matrix, dask Array, dask DataFrame} of shape \
                (n_samples, n_features)
            Any chunking; chunks may be NumPy or SciPy sparse, and of unknown size.
        y : {array-like, dask Array, dask Series, dask DataFrame} of shape (n_samples,) or \
                (n_samples, n_targets)
            Each target is a lasso of its own. For a classifier labels of any kind, in one column,
            which are read first.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Non-negative weights; only their ratios matter. A float is no weights.
        offset : array-like of shape (n_samples,), default=None
            What is added to the linear predictor of each row, with a coefficient of one: with
            counts and a log link, the logarithm of the exposure. Of dask collections as
            `sample_weight`. For the squared loss and Huber's it is taken from y; for a classifier
            it adds to the log-odds of two classes.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; what the estimator had from an
            earlier fit is kept.
        TimeoutError
            If there was nothing to estimate from after `max_time`.
        RuntimeError
            If the cluster went away, or cancelled what the fit needs.

        Warns
        -----
        ConvergenceWarning
            If the duality gap is above `tol`, or `max_iter` or `max_time` ended the fit.
        """
        with self._all_or_nothing(), self._time_in_our_words():
            self._validate_params()
            given = self._given(X, y, sample_weight, offset)
            self._fit(given, partial(self._solve, given=given))
        return self

    def _solve(self, place: Place, observe: Observer, *, given: Given) -> Fit:
        """Choose a solver by the problem and the width of the rows, and let it run."""
        problem = self._problem()
        settings = self._settings(
            place.dtype,
            max_staleness=self.max_staleness,
            rho=self.rho,
            over_relaxation=self.over_relaxation,
            coef_init=self._coef_init(place.n_targets),
        )
        if self.local_solver == "lbfgs" or not is_squared(problem.loss):
            self._check_raw_rows(problem.loss, place.n_targets, given)
            newton_will_do = self.polish and self.local_solver == "auto" and self.penalty == "l1"
            if newton_will_do and newton.has_newton(problem.loss):
                return newton.fit(place, problem, settings, observe)
            return admm.fit(place, problem, settings, observe, by_rows=True)
        if problem.penalty.is_sparse and is_wide(place):
            by_admm = not self.polish
            return working_set.fit(place, problem, settings, observe, by_admm=by_admm)
        check_width(place)
        if self.polish and exact.knows(problem.penalty):
            return exact.fit(place, problem, settings, observe)
        return admm.fit(place, problem, settings, observe)

    def _check_raw_rows(self, loss, n_targets: int, given: Given) -> None:
        """Raise where a fit from raw rows cannot be."""
        if self.local_solver == "gram":
            raise ValueError(
                "local_solver='gram' needs loss='squared', the only loss with sufficient"
                " statistics: use local_solver='lbfgs' or 'auto'."
            )
        for name in given.named if isinstance(loss, Pair) else ():
            if name == "y":
                continue
            raise ValueError(
                f"{name} cannot be used with loss=(f, fprime): f is summed over the rows"
                " of a chunk. Put it into X or y, or use a loss of a row."
            )
        if isinstance(loss, Pair) and n_targets != 1:
            raise ValueError(
                f"y has {n_targets} targets; loss=(f, fprime) is of one: fit each by itself."
            )

    def _coef_init(self, n_targets: int) -> np.ndarray | None:
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        before, now = np.atleast_2d(self.coef_).shape, (n_targets, self.n_features_in_)
        for of, was, is_now in zip(("y", "X"), before, now, strict=True):
            if was != is_now:
                what = "targets" if of == "y" else "features"
                raise ValueError(
                    f"warm_start=True, but the previous fit had {was} {what} and {of} has"
                    f" {is_now}: use a new estimator or warm_start=False."
                )
        return np.atleast_2d(self.coef_).T.astype(np.float64)
