"""A judge of fits of any loss, beside bounds and offsets, that shares nothing with the package.

Proximal Newton in extended precision: columns about their means (if there is an intercept) and
of unit size, coordinate descent on the quadratic, a linear system where signs are known. What it
returns is a point: that of a fit is too high if this one is lower, however it was found.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

LONG = np.longdouble
_STEPS, _SWEEPS = 60, 400


def _huber(eta, y, delta):
    clipped = np.clip(eta - y, -delta, delta)
    return clipped * (eta - y - clipped / 2), clipped, (np.abs(eta - y) <= delta).astype(LONG)


def _logistic(eta, y, _):
    small = np.exp(-np.abs(eta))
    value = np.maximum(eta, 0) + np.log1p(small) - y * eta
    return value, np.where(eta > 0, 1, small) / (1 + small) - y, small / (1 + small) ** 2


def _tweedie(eta, y, p):
    up, down = np.exp((2 - p) * eta), y * np.exp((1 - p) * eta)
    value = up / (2 - p) + down / (p - 1)
    return value, up - down, (2 - p) * up + (p - 1) * down


def _poisson(eta, y, _):
    mean = np.exp(eta)
    return mean - y * eta, mean - y, mean


def _gamma(eta, y, _):
    ratio = y * np.exp(-eta)
    return ratio + eta, 1 - ratio, ratio


# Value, derivative and curvature.
LOSSES = {
    "squared": lambda eta, y, _: ((eta - y) ** 2 / 2, eta - y, np.ones_like(eta)),
    "huber": _huber,
    "logistic": _logistic,
    "poisson": _poisson,
    "gamma": _gamma,
    "tweedie": _tweedie,
}


class Problem:
    """``1/n sum_i s_i loss(x_i.w + b + offset_i, y_i) + l1 |u w|_1 + l2/2 |u w|^2``, w in a box."""

    def __init__(
        self, X, y, loss, l1, l2=0.0, *, weight=None, u=None, box=None, fit_intercept=True,
        offset=None, power=None, standardize=False,
    ):  # fmt: skip
        X = (X.toarray() if sparse.issparse(X) else np.asarray(X)).astype(LONG)
        n, k = X.shape
        weight = np.ones(n) if weight is None else weight
        offset = np.zeros(n) if offset is None else offset
        on = weight > 0
        self.X, self.y, self.s, self.offset = X[on], y[on].astype(LONG), *(
            v[on].astype(LONG) for v in (weight, offset)
        )  # fmt: skip
        self.n, self.power, self._loss = self.s.sum(), power, LOSSES[loss]
        self.is_of_y = loss in ("squared", "huber")
        # What a y far from zero and its intercept have in common would cost the value digits.
        self._origin = np.median(self.y) if self.is_of_y and fit_intercept else LONG(0)
        self.l1, self.l2, self.fit_intercept = LONG(l1), LONG(l2), fit_intercept
        self.u = np.ones(k, LONG) if u is None else np.asarray(u).astype(LONG)
        mean, centred = self._centred()
        spread = np.sqrt(self.s @ centred**2 / self.n)
        if standardize:
            self.u = self.u * np.where(spread > 0, spread, 1)
        lower, upper = (-np.inf, np.inf) if box is None else box
        self.lower, self.upper = (np.broadcast_to(v, k).astype(LONG) for v in (lower, upper))
        self.mean = mean if fit_intercept else np.zeros(k, LONG)
        columns = centred if fit_intercept else self.X
        self.size = np.sqrt(self.s @ columns**2 / self.n)
        self._columns = columns / np.where(self.size > 0, self.size, 1)

    def _centred(self):
        mean, centred = np.zeros(self.X.shape[1], LONG), self.X
        for _ in range(2):
            shift = self.s @ centred / self.n
            mean, centred = mean + shift, centred - shift
        centred[:, np.ptp(self.X, axis=0) == 0] = 0
        return mean, centred

    def of(self, eta):
        """Value, derivative and curvature of the loss in each row, at linear predictors."""
        return self._of_rest(eta - self._origin)

    def _of_rest(self, eta):
        """`of` linear predictors less the origin."""
        y = self.y - self._origin
        with np.errstate(over="ignore", invalid="ignore"):
            return self._loss(eta + self.offset, y, self.power)

    def _penalty(self, w):
        return self.l1 * (self.u * np.abs(w)).sum() + self.l2 / 2 * (self.u**2 * w**2).sum()

    def objective(self, w, b):
        """The objective at coefficients and an intercept."""
        w = np.asarray(w).astype(LONG)
        eta = self.X @ w + (LONG(b) - self._origin)
        return self.s @ self._of_rest(eta)[0] / self.n + self._penalty(w)

    def best_constant(self, eta=0.0):
        """The best intercept beside linear predictors."""
        about = self.s @ (eta * np.ones_like(self.y)) / self.n
        eta = eta - about
        c = np.median(self.y - self.offset - eta) if self.is_of_y else LONG(0)
        for _ in range(100):
            value, slope, curvature = (self.s @ of for of in self.of(eta + c))
            step = -slope / curvature if curvature > 0 else LONG(0)
            while (
                abs(step) > 1e-19 * (1 + abs(c)) and not self.s @ self.of(eta + c + step)[0] < value
            ):
                step /= 2
            if abs(step) <= 1e-19 * (1 + abs(c)):
                break
            c += step
        return c - about

    def null(self):
        """Twice the loss of the best constant, above that of y: what tolerances are relative to."""
        c = self.best_constant() if self.fit_intercept else LONG(0)
        found, low = self.s @ self.of(c * np.ones_like(self.y))[0], LONG(0)
        if not self.is_of_y:
            eta, low = -self.offset, 0
            for _ in range(200):  # each row by itself
                _, slope, curvature = self.of(eta)
                eta = eta - np.clip(slope / np.maximum(curvature, LONG(1e-300)), -1, 1)
            low = self.s @ self.of(eta)[0]
        return 2 * (found - low) / self.n

    def minimum(self, w=None, b=None):
        """Objective, coefficients and intercept of a point near the minimum."""
        k, size = len(self.size), np.where(self.size > 0, self.size, 1)
        start = np.zeros(k, LONG) if w is None else np.asarray(w).astype(LONG)
        z = np.where(self.size > 0, np.clip(start, self.lower, self.upper) * size, 0)
        A, limits = self._columns, [self.l1 * self.u / size, self.l2 * (self.u / size) ** 2]
        limits += [self.lower * size, self.upper * size]
        if self.fit_intercept:
            c = self.best_constant() if b is None else LONG(b)
            c = c - self._origin + (0 if b is None else self.mean @ start)
            A, z = np.column_stack([A, np.ones(len(A), LONG)]), np.append(z, c)
            ends = (0, 0, -np.inf, np.inf)
            limits = [np.append(v, e) for v, e in zip(limits, ends, strict=True)]
        l1, l2, *_ = limits

        def at(z):
            return self.s @ self._of_rest(A @ z)[0] / self.n + l1 @ np.abs(z) + l2 @ z**2 / 2

        value = at(z)
        for _ in range(_STEPS):
            _, slope, curvature = self._of_rest(A @ z)
            H = (A * (self.s * curvature / self.n)[:, np.newaxis]).T @ A
            step = _quadratic_minimum(H, H @ z - A.T @ (self.s * slope) / self.n, z, limits) - z
            share = LONG(1)
            while share > 1e-10 and not at(z + share * step) < value:
                share /= 2
            if share <= 1e-10:
                break
            z = z + share * step
            fall, value = value - at(z), at(z)
            if fall <= 1e-21 * abs(value):
                break
        w = np.where(self.size > 0, z[:k] / size, 0)
        return value, w, z[k] - self.mean @ w + self._origin if self.fit_intercept else LONG(0)

    def floor(self, w, b, unit):
        """What rounding coefficients to a type of that unit may add to the objective."""
        w = np.asarray(w).astype(LONG)
        off = unit * (np.abs(self.X) @ np.abs(w) + abs(b))
        off += 3e-16 * (abs(b) + np.abs(self.mean) @ np.abs(w) + np.abs(self.offset))
        off += 3e-16 * np.abs(self.y) if self.is_of_y else 0
        curvature = 1 if self.is_of_y else self.of(self.X @ w + LONG(b))[2]
        return self.s @ (curvature * off**2) / (2 * self.n) + self.l2 * (unit**2 * self.u**2 @ w**2)


def _quadratic_minimum(H, q, z, limits):
    """``argmin z.H z / 2 - q.z`` and the penalty, from a start."""
    (l1, l2, lower, upper), z = limits, z.copy()
    residual = q - H @ z
    for sweep in range(_SWEEPS):
        most = LONG(0)
        for j in np.flatnonzero(np.diagonal(H) > 0):
            pull = residual[j] + H[j, j] * z[j]
            new = np.sign(pull) * max(abs(pull) - l1[j], 0) / (H[j, j] + l2[j])
            new = min(max(new, lower[j]), upper[j])
            step, z[j] = new - z[j], new
            residual -= H[j] * step
            most = max(most, abs(step) * np.sqrt(H[j, j]))
        is_still = most <= 1e-20 * np.sqrt(1 + np.abs(z @ q))
        if is_still or sweep % 10 == 9:
            z = _with_signs(H, q, z, limits)
            residual = q - H @ z
        if is_still:
            break
    return z


def _with_signs(H, q, z, limits):
    """The minimum as long as no sign changes and no bound is reached; or the way to it."""
    l1, l2, lower, upper = limits
    moving = ((z != 0) | (l1 == 0)) & (z > lower) & (z < upper) & (np.diagonal(H) > 0)
    if not moving.any():
        return z
    M = H[np.ix_(moving, moving)] + np.diag(l2[moving])
    step = _solved(M, (q - H @ z - l2 * z - l1 * np.sign(z))[moving])
    if step is None:
        return z
    way = np.zeros_like(z)
    way[moving] = step
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [np.where(l1 > 0, -z / way, np.inf), (lower - z) / way, (upper - z) / way]
    reach = min([1, *(v for of in ends for v in of[moving] if v > 0)])
    return np.clip(z + reach * way, lower, upper)


def _solved(M, b):
    """Elimination with pivots, in extended precision; None where it does not go on."""
    scale = np.sqrt(np.diagonal(M))
    A = np.column_stack([M / np.outer(scale, scale), b / scale])
    n = len(b)
    for i in range(n):
        pivot = i + int(np.argmax(np.abs(A[i:, i])))
        A[[i, pivot]] = A[[pivot, i]]
        if abs(A[i, i]) < 1e-17:
            return None
        A[i] /= A[i, i]
        others = np.arange(n) != i
        A[others] -= np.outer(A[others, i], A[i])
    return A[:, n] / scale
