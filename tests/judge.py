"""A judge of fits that shares nothing with the package: optimum and bounds from the raw rows.

All of it is extended precision (`numpy.longdouble`, 64 bits of mantissa): rows are centred,
unpenalised columns are projected out by Householder reflections, columns have unit norm, and
the optimum is found by an active set whose systems are solved by QR of the rows, not of a
Gram matrix. It ends with a dual bound of its own, so that what is said of a fit does not rest
on this solver either: an excess lies between ``objective - optimum.primal`` and
``objective - optimum.dual``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

EXTENDED = np.finfo(np.longdouble).eps < 1e-18
_EPS = np.finfo(np.longdouble).eps


class Lasso(NamedTuple):
    """``1/2n sum_i s_i (y_i - x_i.w - b)^2 + l1 |u w|_1 + l2/2 |u w|^2``, and its rows."""

    X: np.ndarray  # (n, k), or sparse
    y: np.ndarray  # (n,)
    l1: float
    l2: float = 0.0
    weight: np.ndarray | None = None  # s, (n,)
    penalty_weights: np.ndarray | None = None  # u, (k,)
    positive: bool = False
    fit_intercept: bool = True


class Rows(NamedTuple):
    """Rows times the roots of their weights, in extended precision, centred if need be."""

    A: np.ndarray  # (n, k)
    b: np.ndarray  # (n,)
    n: np.longdouble
    x_mean: np.ndarray  # what was taken away
    y_mean: np.longdouble
    x_size: np.ndarray  # root mean squares about zero
    y_size: np.longdouble


class Optimum(NamedTuple):
    coef: np.ndarray
    primal: np.longdouble
    dual: np.longdouble


class Verdict(NamedTuple):
    """What is true of coefficients; all but `null` in units of the null loss.

    Attributes
    ----------
    excess, at_most : float
        Bounds of how far the objective is above its minimum.
    floor : float
        What rounding the best coefficients to the given type may add to the minimum.
    rounding : float
        The judge's own.
    null : float
        ``||y - mean||^2 / n``, about zero without an intercept.
    above_null : float
        How far the objective is above that of no coefficients.
    """

    excess: float
    at_most: float
    floor: float
    rounding: float
    null: float
    above_null: float


def rows_of(p: Lasso) -> Rows:
    X = p.X.toarray() if sparse.issparse(p.X) else np.asarray(p.X)
    X, y = X.astype(np.longdouble), np.asarray(p.y).astype(np.longdouble)
    s = np.ones(len(y), np.longdouble) if p.weight is None else p.weight.astype(np.longdouble)
    X, y, s = X[s > 0], y[s > 0], s[s > 0]
    n = s.sum()
    x_size, y_size = np.sqrt(s @ X**2 / n), np.sqrt(s @ y**2 / n)
    x_mean, y_mean = np.zeros(X.shape[1], np.longdouble), np.longdouble(0)
    if p.fit_intercept:
        for _ in range(2):  # the second takes away what rounding left of the first
            x_shift, y_shift = s @ X / n, s @ y / n
            constant, y_constant = np.ptp(X, axis=0) == 0, np.ptp(y) == 0
            x_mean, y_mean = x_mean + x_shift, y_mean + y_shift
            X, y = X - x_shift, y - y_shift
            X[:, constant] = 0  # exactly
            y = y * 0 if y_constant else y
    root = np.sqrt(s)
    return Rows(X * root[:, np.newaxis], y * root, n, x_mean, y_mean, x_size, y_size)


def _weights(p, k):
    return np.ones(k) if p.penalty_weights is None else np.asarray(p.penalty_weights)


def objective(p: Lasso, rows: Rows, coef):
    coef = np.asarray(coef).astype(np.longdouble)
    residual, penalised = rows.b - rows.A @ coef, coef * _weights(p, len(coef))
    l1, l2 = np.longdouble(p.l1), np.longdouble(p.l2)
    ridge = l2 * (penalised @ penalised) / 2
    return residual @ residual / (2 * rows.n) + l1 * np.abs(penalised).sum() + ridge


# -- the optimum -------------------------------------------------------------------------


def _reflect(A, *others):
    """``R, *others`` after the Householder reflections that make A triangular."""
    A = A.copy()
    others = [other.copy() for other in others]
    for i in range(min(A.shape)):
        v = A[i:, i].copy()
        norm = np.sqrt(v @ v)
        if norm == 0:
            continue
        v[0] += norm if v[0] >= 0 else -norm
        v /= np.sqrt(v @ v)
        for B in (A[:, i:], *others):
            B[i:] -= 2 * np.multiply.outer(v, v @ B[i:])
    return A[: A.shape[1]], *others


def _basis(A, ordered=False):
    """An orthonormal basis of the columns of A, which have unit norm or are zero.

    Also which columns it is of; the others depend on them.
    """
    Q, of = np.zeros((len(A), 0), np.longdouble), []
    left = A.copy()
    for i in range(min(A.shape)):
        norms = np.sqrt((left * left).sum(axis=0))
        next_ = i if ordered else int(np.argmax(norms))
        if norms[next_] < 1e-17:
            break
        q = left[:, next_] / norms[next_]
        for _ in range(2):
            q = q - Q @ (Q.T @ q)
            q /= np.sqrt(q @ q)
        Q, of = np.column_stack([Q, q]), [*of, next_]
        left -= np.multiply.outer(q, q @ left)
    return Q, of


def _unit(A):
    norms = np.sqrt((A * A).sum(axis=0))
    return A / np.where(norms > 0, norms, 1), norms


def _backward(R, rhs, transposed=False):
    k = len(R)
    x = np.zeros(k, np.longdouble)
    for i in range(k) if transposed else range(k - 1, -1, -1):
        row = R[:, i] if transposed else R[i]
        x[i] = (rhs[i] - row @ x) / row[i]
    return x


def _least_squares(A, b, linear):
    """``argmin 1/2 |b - A v|^2 + linear.v``; None where A has dependent columns."""
    R, rotated = _reflect(A, b)
    if len(R) < A.shape[1] or np.abs(np.diagonal(R)).min(initial=1) < 1e-17:
        return None
    v = _backward(R, rotated[: len(R)] - _backward(R, linear, transposed=True))
    for _ in range(2):
        off = A.T @ (b - A @ v) - linear
        v = v + _backward(R, _backward(R, off, transposed=True))
    return v


def _active_set(A, b, limit, positive):
    """``argmin 1/2 |b - A v|^2 + limit.|v|`` for columns of unit norm.

    Lawson & Hanson's method for non-negative least squares (1974, chapter 23), with a sign
    for each column that has joined.
    """
    k = A.shape[1]
    v, sign = np.zeros(k, np.longdouble), np.zeros(k)
    rounding = 4 * _EPS * np.sqrt(b @ b)
    blocked = np.zeros(k, bool)
    for _ in range(30 * k + 30):
        gradient = A.T @ (b - A @ v)
        over = (gradient if positive else np.abs(gradient)) - limit
        over[(sign != 0) | blocked] = -np.inf
        new = int(np.argmax(over)) if k else 0
        if k == 0 or over[new] <= rounding:
            break
        sign[new] = np.sign(gradient[new])
        while sign.any():
            active = np.flatnonzero(sign)
            found = _least_squares(A[:, active], b, limit[active] * sign[active])
            if found is None and v[new] == 0 and _exchange(A, limit, v, sign, new):
                continue
            if found is None or (v[new] == 0 and found[active == new][0] * sign[new] <= 0):
                sign[new], blocked[new] = 0, True
                break
            at = v[active]
            turned = found * sign[active] <= 0
            if not turned.any():
                v[active] = found
                blocked[:] = False
                break
            steps = at[turned] / (at[turned] - found[turned])
            v[active] = at + steps.min() * (found - at)
            gone = active[turned][steps <= steps.min()]
            v[gone], sign[gone] = 0, 0
    return v


def _exchange(A, limit, v, sign, new):
    """Let a column take the place of one of those that it depends on; False if it cannot.

    The residual stays, and the penalty falls.
    """
    active = np.flatnonzero(v)
    share = _least_squares(A[:, active], A[:, new], np.zeros(len(active), np.longdouble))
    if share is None:
        return False
    cost = share * (limit * sign)[active] * sign[new]
    if cost.sum() - limit[new] <= 1e-16 * (np.abs(cost).sum() + limit[new]):
        return False  # it is a copy, or there is no penalty to gain by
    share = share * sign[new]
    falls = share * v[active] > 0
    if not falls.any():
        return False
    steps = np.where(falls, v[active] / np.where(falls, share, 1), np.inf)
    v[active] -= steps.min() * share
    v[new] = steps.min() * sign[new]
    gone = active[steps <= steps.min()]
    v[gone], sign[gone] = 0, 0
    return True


def optimum(p: Lasso, rows: Rows) -> Optimum:
    """The minimum, from above and from below."""
    k, n = rows.A.shape[1], rows.n
    u = _weights(p, k).astype(np.longdouble)
    l1, l2 = np.longdouble(p.l1), np.longdouble(p.l2)
    A, b = rows.A, rows.b
    if l2 > 0:  # as many more rows
        A = np.vstack([A, np.diag(np.sqrt(n * l2) * u)])
        b = np.concatenate([b, np.zeros(k, np.longdouble)])
    free = (u == 0) if l1 > 0 or p.positive else np.ones(k, bool)
    scaled, sizes = _unit(A)
    Q, _ = _basis(scaled[:, free])
    rest = scaled[:, ~free]
    for _ in range(2):
        rest = rest - Q @ (Q.T @ rest)
        b = b - Q @ (Q.T @ b)
    rest[:, np.sqrt((rest * rest).sum(axis=0)) < 1e-16] = 0
    rest, norms = _unit(rest)
    used = norms > 0
    norms = norms[used] * sizes[~free][used]
    rest, limit = rest[:, used], n * l1 * u[~free][used] / norms
    compact, short = rest, b
    if len(b) > rest.shape[1] + 1:
        R, _ = _reflect(np.column_stack([rest, b]), b)
        compact, short = R[:, :-1], R[:, -1]
    v = _active_set(compact, short, limit, p.positive)
    coef = np.zeros(k, np.longdouble)
    coef[np.flatnonzero(~free)[used]] = v / norms
    if free.any():
        target = np.concatenate([rows.b, np.zeros(len(A) - len(rows.b), np.longdouble)])
        found = _basic_solution(scaled[:, free], target - A @ coef)
        coef[free] = found / np.where(sizes[free] > 0, sizes[free], 1)
    duals = [
        _dual_value(rest, b, theta, limit, v, p.positive) / n
        for theta in (b - rest @ v, _dual_point(rest, b, limit, v))
    ]
    return Optimum(coef, objective(p, rows, coef), max(duals))


def _dual_value(A, b, theta, limit, v, positive):
    """A bound of the minimum from below: theta scaled into its limits, or as it is.

    As it is, limits are exceeded by rounding. That counts as what a coefficient might gain
    by it which is three times as large as in v, and as y for a column of norm one.
    """
    correlation = A.T @ theta
    excess = np.maximum((correlation if positive else np.abs(correlation)) - limit, 0)
    outside = excess > 0
    scale = (limit[outside] / (limit + excess)[outside]).min(initial=1)
    off, scaled = theta - b, scale * theta - b
    size = 3 * (np.abs(v) + np.sqrt(b @ b))
    return max(b @ b - scaled @ scaled, b @ b - off @ off - 2 * (excess @ size)) / 2


def _dual_point(A, b, limit, v):
    """The residual at v, put together from parts that are orthogonal.

    In ``b - A v`` large columns with large coefficients cancel, and what is left of the
    digits may not tell the correlations from their limits.
    """
    active = np.flatnonzero(v)
    Q, of = _basis(A[:, active], ordered=True)
    if len(of) < len(active):
        return b - A @ v
    theta = b
    for _ in range(2):
        theta = theta - Q @ (Q.T @ theta)
    R = np.triu(Q.T @ A[:, active])
    return theta + Q @ _backward(R, limit[active] * np.sign(v[active]), transposed=True)


def _basic_solution(A, b):
    """Least-squares coefficients of unit columns; those that depend on others have none."""
    _, of = _basis(A)
    values = np.zeros(A.shape[1], np.longdouble)
    if of:
        found = _least_squares(A[:, of], b, np.zeros(len(of), np.longdouble))
        values[of] = 0 if found is None else found
    return values


# -- the verdict -------------------------------------------------------------------------


def judge(p: Lasso, coef, *, rows=None, best=None) -> Verdict:
    """How good coefficients are."""
    rows = rows_of(p) if rows is None else rows
    best = optimum(p, rows) if best is None else best
    value, nothing = objective(p, rows, coef), objective(p, rows, np.zeros(len(coef)))
    null = rows.b @ rows.b / rows.n
    # A coefficient is known to half a unit in its last place, and so is what its column
    # contributes to each row; at the minimum the objective grows with the square of that.
    sizes = np.maximum(np.abs(best.coef), np.abs(np.asarray(coef).astype(np.longdouble)))
    unit = np.finfo(np.asarray(coef).dtype).eps
    u = _weights(p, len(coef))
    ulps = unit * (sizes @ rows.x_size) + np.finfo(float).eps * rows.y_size
    ridge = p.l2 * ((unit * u * sizes) ** 2).sum()
    floor = (ulps**2 + ridge) / 2
    # In residuals large columns cancel, here too.
    rounding = _EPS * (sizes @ rows.x_size + rows.y_size) * np.sqrt(2 * value)
    scale = null if null > 0 else np.longdouble(1)
    return Verdict(
        float((value - best.primal) / scale),
        float((value - best.dual) / scale),
        float(floor / scale),
        float(rounding / scale),
        float(null),
        float((value - nothing) / scale),
    )


def alpha_max(p: Lasso, rows=None) -> float:
    """The least `l1` at which every penalised coefficient is zero."""
    rows = rows_of(p) if rows is None else rows
    u = _weights(p, rows.A.shape[1])
    A, b = rows.A, rows.b
    if (u == 0).any():
        Q, _ = _basis(_unit(A[:, u == 0])[0])
        b = b - Q @ (Q.T @ b)
        b = b - Q @ (Q.T @ b)
    correlation = A[:, u > 0].T @ b / (rows.n * u[u > 0])
    largest = correlation if p.positive else np.abs(correlation)
    return float(largest.max(initial=0))
