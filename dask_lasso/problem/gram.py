"""The exact solution: the lasso of moments.

The merged moments are a k-row problem, whatever the number of rows they came from.
scikit-learn's coordinate descent brings it near the solution; the linear system of the
active set then gives the solution itself, to rounding, so that it does not depend on
where coordinate descent happened to stop.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path, lars_path_gram

from .active import active_set
from .boxed import solve_boxed
from .certificate import certify
from .far import solve_far
from .linear import LeastSquares
from .moments import Lasso, Moments
from .penalties import L1
from .unpenalised import Reduction

# Relative gaps at which coordinate descent hands over to the active set. The first is
# enough nearly always; the last is what remains when the active set is degenerate.
_HANDOVER = (1e-4, 1e-7, 1e-10, 1e-13)
# Sweeps after which another way is tried before coordinate descent goes on, and how far
# that goes.
_PATIENCE = 100
_MOST_STEPS = 1000
# Supports that are tried of a first guess: its own. Where it changes, descent is faster.
_WARM = 1
# Share of the null loss from which on a gap is a sign of ruin.
_POOR = 1e-3


class Solution(NamedTuple):
    """Coefficients (k, m), their duality gaps and objectives (m,)."""

    coef: np.ndarray
    gap: np.ndarray
    objective: np.ndarray


class Path(NamedTuple):
    """Coefficients (m, k, n_alphas) and duality gaps (m, n_alphas) along a grid of alphas."""

    coefs: np.ndarray
    gaps: np.ndarray


def solve(
    problem: Moments,
    penalty: L1,
    *,
    max_iter: int = 1000,
    coef_init: np.ndarray | None = None,
    dtype: type | np.dtype = np.float64,
) -> Solution:
    """Minimise the objective for every target.

    Parameters
    ----------
    problem : Moments
    penalty : L1
        With one alpha for all targets.
    max_iter : int
        Sweeps of coordinate descent over the coefficients, in all, per target.
    coef_init : ndarray of shape (k, m), optional
    dtype : dtype
        Of which the coefficients are values; the gap is that of the rounded ones.

    Returns
    -------
    Solution
        The certificate is measured, not assumed: it is up to the caller to compare it
        with a tolerance.
    """
    coef, reduction = _minimum(problem, penalty, max_iter, coef_init)
    coef = penalty.rounded(coef, len(coef), dtype)
    if reduction is None:
        value, gap = certify(problem, coef, penalty)
        return Solution(coef, gap, value)
    return _certified(problem, penalty, coef, reduction)


def minimum(problem: Moments, penalty: L1, coef_init: np.ndarray) -> np.ndarray:
    """Coefficients (k, m) of `solve`, which a certificate would cost as much as they do."""
    return _minimum(problem, penalty, 1000, coef_init)[0]


def _minimum(problem, penalty, max_iter, coef_init):
    """Coefficients, and the reduction that they were found by; None without an l1 term."""
    if penalty.l1 == 0 and penalty.box is None:
        return _ridge(problem, penalty), None
    reduction = Reduction(problem, penalty)
    start = None if coef_init is None else reduction.reduce(coef_init)
    return reduction.expand(_solve_reduced(reduction, penalty, max_iter, start)), reduction


def _certified(problem, penalty, coef, reduction, target=slice(None)) -> Solution:
    """`coef` with its gap; or no penalised coefficients, where rounding has ruined it."""
    value, gap = certify(problem, coef, penalty)
    if (gap > _POOR * problem.null_loss).any():
        n_rest = len(reduction.problem.gram)
        null = reduction.expand(np.zeros((n_rest, coef.shape[1])), target)
        of_null, gap_of_null = certify(problem, null, penalty)
        ruined = value > of_null
        coef, gap = np.where(ruined, null, coef), np.where(ruined, gap_of_null, gap)
        value = np.minimum(value, of_null)
    return Solution(coef, gap, value)


def _ridge(problem, penalty):
    """Ridge regression, or least squares: a linear system."""
    weights = penalty.column_weights(len(problem.gram))
    ridge = problem.weight * penalty.l2 * weights**2
    squares = LeastSquares(problem.gram, problem.x_mean, problem.weight, ridge)
    return squares.solve(problem.xy, problem.y_mean)


def _solve_reduced(reduction, penalty, max_iter, coef_init):
    """Coefficients (k, m) of the columns of a reduction."""
    problem = reduction.problem
    k, m = problem.xy.shape
    coef = np.zeros((k, m)) if coef_init is None else np.array(coef_init, dtype=np.float64)
    about_zero = problem.about_zero()
    for target in range(m):
        lasso = _lasso(reduction, about_zero, target, penalty)
        coef[:, target] = _solve_one(lasso, max_iter, np.ascontiguousarray(coef[:, target]))
    return coef


def _lasso(reduction, about_zero, target, penalty) -> Lasso:
    problem = reduction.problem
    return Lasso(
        np.ascontiguousarray(about_zero.gram),
        np.ascontiguousarray(about_zero.xy[:, target]),
        float(about_zero.yy[target]),
        float(problem.weight * penalty.l1) * reduction.share,
        float(problem.weight * penalty.l2) * reduction.share,
        reduction.box,
        problem.target(target) if problem.has_far_columns else None,
    )


def _solve_one(lasso, max_iter, coef):
    if lasso.apart is not None:
        found = solve_far(lasso, max_iter, coef, solve_target)
        if found is not None:
            return found
    elif coef.any():
        found = active_set(lasso, coef, _WARM)  # of a problem nearly the same
        if found is not None:
            return found
    return solve_target(lasso, max_iter, coef)


def solve_target(lasso: Lasso, max_iter: int, coef: np.ndarray) -> np.ndarray:
    """The coefficients (k,) of one target, from a first guess `coef`."""
    if lasso.yy <= 0 or not lasso.xy.any():
        return np.zeros_like(coef)
    if not lasso.is_plain:
        return solve_boxed(lasso, max_iter, coef)
    left = max_iter
    for attempt, tol in enumerate(_HANDOVER):
        sweeps = left if attempt else min(left, _PATIENCE)
        penalty = float(lasso.threshold + lasso.ridge)
        l1_ratio = float(lasso.threshold) / penalty if penalty else 1.0
        coefs, sweeps = coordinate_descent(lasso, [penalty], l1_ratio, tol, sweeps, coef)
        coef = coefs[:, 0].copy()
        left -= sweeps
        exact = active_set(lasso, coef)
        if exact is None and left > 0 and attempt == 0:
            exact = _from_above(lasso)
        if exact is not None:
            return exact
        if left <= 0:
            break
    return coef


def _from_above(lasso):
    """The solution reached along the path from large alphas, if that is short; else None.

    Where nearly as many coefficients as there are rows are not zero, coordinate descent
    takes thousands of sweeps, and the path a few hundred steps (LARS: Efron, Hastie,
    Johnstone & Tibshirani 2004).
    """
    gram = lasso.gram
    if lasso.ridge:
        gram = gram + lasso.ridge * np.eye(len(gram))
    # Its own tolerances are of columns and targets near one. It warns of columns that are
    # combinations of others, which it leaves out.
    size = np.abs(lasso.xy).max()
    scale = np.sqrt(np.diagonal(gram).max())
    _, _, coef = _without_convergence_warning(
        lars_path_gram,
        lasso.xy / size,
        gram / scale**2,
        n_samples=1,
        alpha_min=lasso.threshold / size,
        method="lasso",
        positive=lasso.box is not None,
        max_iter=_MOST_STEPS,
        return_path=False,
    )
    return active_set(lasso._replace(gram=gram, ridge=0.0), coef * (size / scale**2))


_warning_filters = threading.Lock()


def _without_convergence_warning(solver, *args, **kwargs):
    """Call a solver of scikit-learn; our own certificate tells what there is to warn of.

    Warning filters belong to the process, and grid searches fit in threads: hence the
    lock. scikit-learn sets them without it, though, for each task of its own. Where that
    has made the warning an error again, the call is made once more.
    """
    while True:
        try:
            # Its arguments are ours and right: to check them takes longer than ten columns do.
            skip = config_context(skip_parameter_validation=True)
            with skip, _warning_filters, warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                # Of scikit-learn before 1.7, of a penalty of zero beside a sign.
                warnings.filterwarnings("ignore", "Coordinate descent without L1", UserWarning)
                return solver(*args, **kwargs)
        except ConvergenceWarning:
            continue


def coordinate_descent(
    lasso: Lasso,
    penalties: Sequence[float],
    l1_ratio: float,
    tol: float,
    max_iter: int,
    coef: np.ndarray,
) -> tuple[np.ndarray, int]:
    """scikit-learn's coordinate descent on a Gram matrix; no rows needed.

    Returns coefficients (k, n) for n falling penalties and the sweeps of the last one.

    With `precompute` the solver looks at X for its shape alone and at y for its norm
    alone, so one row of each stands for all of them.
    """
    k = len(coef)
    _, coefs, _, sweeps = _without_convergence_warning(
        enet_path,
        np.zeros((1, k), order="F"),
        np.sqrt([lasso.yy]),
        l1_ratio=l1_ratio,
        alphas=penalties,
        precompute=lasso.gram,
        Xy=lasso.xy,
        coef_init=coef,
        positive=lasso.box is not None,
        tol=tol,
        max_iter=max_iter,
        check_input=False,
        return_n_iter=True,
    )
    return coefs, max(1, sweeps[-1])


def solve_path(
    problem: Moments,
    penalty: L1,
    alphas: np.ndarray,
    *,
    max_iter: int,
    coef_init: np.ndarray | None = None,
) -> Path:
    """Solve for every alpha, from the largest down; what `penalty` has as alpha is not used.

    One call of coordinate descent brings the whole grid near, and the active set makes
    each of its points exact, as in `solve`.

    Parameters
    ----------
    coef_init : ndarray of shape (k, n_alphas), optional
        For one target, solutions that are near.
    """
    alphas = np.asarray(alphas, dtype=np.float64)
    (k, m), n = problem.xy.shape, len(alphas)
    reduction = Reduction(problem, penalty)
    near = None if coef_init is None else reduction.reduce(coef_init)
    about_zero = reduction.problem.about_zero()
    sparse = alphas * penalty.l1_ratio > 0
    if penalty.box is not None:
        sparse[:] = True
    coefs, gaps = np.zeros((m, k, n)), np.zeros((m, n))
    for target in range(m):
        one = problem.target(target)
        if sparse.any():
            lasso = _lasso(reduction, about_zero, target, penalty.at(0.0))
            at = penalty.at(problem.weight * alphas[sparse])
            grid = _solve_grid(lasso, reduction.share, at, max_iter, near)
            coef = penalty.rounded(reduction.expand(grid, target), k, np.float64)
            found = _certified(one, penalty.at(alphas[sparse]), coef, reduction, target)
            coefs[target][:, sparse], gaps[target][sparse] = found.coef, found.gap
        for column in np.flatnonzero(~sparse):
            ridge = solve(one, penalty.at(alphas[column]))
            coefs[target][:, [column]], gaps[target][[column]] = ridge.coef, ridge.gap
    return Path(coefs, gaps)


def _solve_grid(lasso, share, penalty, max_iter, near):
    """Coefficients (k, n_alphas) of one target, for a penalty in sums."""
    sums = penalty.alpha
    coefs = np.zeros((len(lasso.xy), len(sums)))
    order = np.argsort(-sums, kind="stable")
    if len(sums) == 0 or lasso.yy <= 0 or not lasso.xy.any():
        return coefs
    descends = lasso.apart is None and lasso.is_plain
    if near is None and descends:
        args = sums[order], penalty.l1_ratio, 1e-4, max_iter, coefs[:, 0].copy()
        starts = np.empty_like(coefs)
        starts[:, order] = coordinate_descent(lasso, *args)[0]
    else:
        starts = near
    before = coefs[:, 0].copy()
    for column in order:
        at = lasso._replace(
            threshold=float(sums[column] * penalty.l1_ratio) * share,
            ridge=float(sums[column] * (1 - penalty.l1_ratio)) * share,
        )
        start = before if starts is None else np.ascontiguousarray(starts[:, column])
        if near is not None and descends:
            args = [sums[column]], penalty.l1_ratio, 1e-4, max_iter, start
            start = np.ascontiguousarray(coordinate_descent(lasso, *args)[0][:, 0])
        exact = None if lasso.apart is not None else active_set(at, start)
        before = _solve_one(at, max_iter, start) if exact is None else exact
        coefs[:, column] = before
    return coefs
