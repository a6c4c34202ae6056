"""The lasso along falling alphas, by the columns that have coefficients: its support.

From one alpha to the next few columns come and go, so the inverse of the support's Gram is
updated and not made anew: columns that join or leave are a border around it, with a small
system of its own, until there are enough of them to be taken in at once (block inversion: Golub
& Van Loan, Matrix Computations, section 2.1.4). The signs tell the linear system, its solution
tells which signs turn and which columns join: a semismooth Newton method (Hintermueller, Ito &
Kunisch 2003), as `active.active_set` is.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Protocol

import numpy as np
from scipy import linalg

# Factor from one threshold to the next: so that not many columns join before the first of them
# leave again. Where that goes on without end it is a smaller one.
_STEP, _LEAST_STEP = 1.2, 1.001
_MOST_ROUNDS = 40
# Columns that may join at once: so many, or half as many as there are.
_FEWEST = 64
# Share of a column, squared, that the others must leave for it to join.
_PIVOT = 1e-10
# What a linear system may leave of its right-hand side; and the one of a last step, which is of
# what rounding and the first have left.
_LEFT, _LEFT_OF_STEP = 1e-9, 1e-4
# Corrections of a solution: an inverse that takes more has lost too many digits, or has been made
# with quite another ridge term, and is made anew.
_MOST_CORRECTIONS = 10
# Columns in the border before it is taken in: so many, or a share of those that are inside.
_BORDER, _SHARE = 32, 0.125
_EPS = np.finfo(np.float64).eps


class Columns(Protocol):
    """Columns that are penalised alike, and one target: of rows, or of their moments.

    Attributes
    ----------
    xy, squares : ndarray of shape (c,)
        Products with y, and with themselves.
    yy : float
    near : ndarray of int
        Those that may join the support; what pulls among others is not looked at.

    Notes
    -----
    `residual` is ``r = y - X w``, however the columns have it, `correlations` those of some
    columns with it; `products` are those of some columns with others.
    """

    xy: np.ndarray
    squares: np.ndarray
    yy: float
    near: np.ndarray

    def residual(self, coef: np.ndarray) -> Any: ...
    def correlations(self, residual: Any, of: np.ndarray) -> np.ndarray: ...
    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray: ...


class Support:
    """The columns that have coefficients, from one problem to the next.

    Columns may be added to those of the problem, after the ones that were there.
    """

    def __init__(self) -> None:
        # Those inside, then those that have joined since; some may have left meanwhile.
        self._active, self._stays = np.empty(0, dtype=np.intp), np.empty(0, dtype=bool)
        self._signs, self._units = np.empty(0), np.empty(0)
        # Of those inside, with those that have joined, and of these among each other.
        self._gram, self._beside, self._own = np.empty((3, 0, 0))
        self._inverse, self._through, self._schur = np.empty((3, 0, 0))
        self._ridge = self._ridge_inside = 0.0
        self._threshold: float | None = None  # that has been solved for

    def solve(
        self, columns: Columns, threshold: float, ridge: float = 0.0, positive: bool = False
    ) -> np.ndarray | None:
        """Coefficients (c,) for ``threshold ||w||_1 + ridge ||w||^2 / 2``, in sums over rows.

        None where columns are nearly combinations of others, or come and go without end.
        """
        if self._threshold is not None and threshold > _STEP * self._threshold:
            # The way back may begin where columns cannot leave one by one.
            vars(self).update(vars(Support()))
        if self._threshold is None:
            self._threshold = max(threshold, np.abs(columns.xy).max(initial=0.0))
        self._ridge, step = ridge, _STEP
        while step > _LEAST_STEP:
            before = self.copy()
            at = min(max(threshold, self._threshold / step), self._threshold * step)
            coef = self._solve(columns, at, positive)
            if coef is None:
                vars(self).update(vars(before))
                step = np.sqrt(step)
                continue
            self._threshold = at
            if at == threshold:
                return coef
        return None

    def copy(self) -> Support:
        """The same, to go back to."""
        other = copy(self)
        other._signs, other._stays = self._signs.copy(), self._stays.copy()
        return other

    def _solve(self, columns, threshold, positive):
        slack = 1e-10 * threshold + 8 * _EPS * np.sqrt(columns.squares) * np.sqrt(columns.yy)
        for _ in range(_MOST_ROUNDS):
            n_inside = len(self._inverse)
            n_border = len(self._active) - n_inside + np.count_nonzero(~self._stays)
            if n_border > max(_BORDER, _SHARE * n_inside):
                self._take_in()
            values = self._values(columns, threshold)
            if values is None:
                return None
            turned = self._stays & (values * self._signs <= 0)
            if turned.any():
                self._stays &= ~turned
                continue
            coef = np.zeros(len(columns.xy))
            coef[self._active] = values
            residual = columns.residual(coef)
            are_joining = self._join(columns, residual, threshold + slack, positive)
            if are_joining is None:
                values = self._refined(columns, residual, values, threshold)
                if values is not None:
                    coef[self._active] = values
                    return coef
                if not self._renew():
                    return None
            elif not are_joining:
                break
        return None

    def _join(self, columns, residual, limit, positive):
        """Let columns join that pull by more than `limit`; None without any, False if none can."""
        may_join = np.zeros(len(limit), dtype=bool)
        may_join[columns.near] = True
        may_join[self._active[self._stays]] = False
        others = np.flatnonzero(may_join)
        gradient = columns.correlations(residual, others)
        excess = (gradient if positive else np.abs(gradient)) - limit[others]
        new = np.flatnonzero(excess > 0)
        if len(new) == 0:
            return None
        new = new[np.argsort(-excess[new])][: max(_FEWEST, np.count_nonzero(self._stays) // 2)]
        signs = np.zeros(len(limit))
        signs[others[new]] = np.sign(gradient[new])
        new = others[new]
        back = signs[self._active] != 0
        self._signs[back] = signs[self._active[back]]
        self._stays |= back
        new = new[~np.isin(new, self._active)]
        # So many at once may be combinations of each other, where fewer are not.
        while len(new) and not self._add(columns, new, signs[new]):
            new = new[: len(new) // 2]
        return len(new) > 0 or bool(back.any())

    def _values(self, columns, threshold):
        """The coefficients (a,) of the support, zero of columns that have left."""
        for is_new in (False, True):
            if is_new and not self._renew():
                return None
            rhs = columns.xy[self._active] - threshold * self._signs
            values = self._corrected(rhs * self._units * self._stays, _LEFT)
            if values is not None:
                return values * self._units
        return None

    def _corrected(self, rhs, share):
        """What the Gram matrix maps to `rhs`, in units, but for a share of it.

        By conjugate gradients with the inverse; None where that is too far off.
        """
        values = direction = np.zeros(len(rhs))
        left, enough, before = rhs, share * np.linalg.norm(rhs), 1.0
        for _ in range(_MOST_CORRECTIONS):
            if np.linalg.norm(left) <= enough:
                return values
            step = self._solved(left)
            size = left @ step
            direction = step + size / before * direction
            image = self._applied(direction)
            along = direction @ image
            if not along > 0:
                return None
            length = size / along
            values = values + length * direction
            left, before = left - length * image, size
        return None

    def _applied(self, values):
        """The Gram matrix times `values`, in units."""
        inside, joined = np.split(values, [len(self._gram)])
        of_inside = self._gram @ inside + self._beside @ joined
        found = np.concatenate([of_inside, inside @ self._beside + self._own @ joined])
        found += (self._ridge - self._ridge_inside) * self._units**2 * values
        return found * self._stays

    def _solved(self, rhs):
        """The inverse times `rhs`, in units, about as good as what it was updated with."""
        n = len(self._inverse)
        values, free = np.zeros(len(rhs)), self._inverse @ rhs[:n]
        joined, left, border, schur = self._border()
        of_border = rhs[n:][joined] - self._beside[:, joined].T @ free
        of_border = np.linalg.solve(schur, np.concatenate([of_border, -free[left]]))
        values[:n] = free - border @ of_border
        values[n + joined] = of_border[: len(joined)]
        values[left] = 0.0
        return values

    def _border(self):
        """What has joined and left, what that is to the inverse, and the system that it has."""
        n = len(self._inverse)
        joined, left = np.flatnonzero(self._stays[n:]), np.flatnonzero(~self._stays[:n])
        through, of_left = self._through[:, joined], self._inverse[left]
        beside = -through[left]
        schur = np.block(
            [[self._schur[np.ix_(joined, joined)], beside.T], [beside, -of_left[:, left]]]
        )
        return joined, left, np.hstack([through, of_left.T]), schur

    def _refined(self, columns, residual, values, threshold):
        """The coefficients (a,) of the support, to the rounding of the columns themselves."""
        gradient = columns.correlations(residual, self._active)
        left = gradient - threshold * self._signs - self._ridge * values
        step = self._corrected(left * self._units * self._stays, _LEFT_OF_STEP)
        if step is None:
            return None
        values = values + step * self._units
        # What that turns is rounding.
        return np.where(values * self._signs > 0, values, 0.0)

    def _renew(self):
        """Make the inverse anew, with the ridge term that there is now.

        False where a column is nearly a combination of others.
        """
        self._take_in()
        growth = np.sqrt(1 + (self._ridge - self._ridge_inside) * self._units**2)
        self._units, self._ridge_inside = self._units / growth, self._ridge
        self._gram /= np.outer(growth, growth)
        np.fill_diagonal(self._gram, 1.0)
        if len(self._gram) == 0:
            return True
        factor, info = linalg.lapack.dpotrf(self._gram, lower=True, clean=True)
        if info or np.diagonal(factor).min(initial=1.0) ** 2 < _PIVOT:
            return False
        lower, _ = linalg.lapack.dpotri(factor, lower=True)
        self._inverse = lower + lower.T
        np.fill_diagonal(self._inverse, np.diagonal(lower))
        return True

    def _take_in(self):
        """Of the columns in the border make columns inside, and forget those that have left."""
        n = len(self._inverse)
        joined, _, border, schur = self._border()
        inside, p = np.flatnonzero(self._stays[:n]), len(joined)
        stays = np.concatenate([inside, n + joined])
        own, beside = self._own[np.ix_(joined, joined)], self._beside[np.ix_(inside, joined)]
        self._gram = _bordered(self._gram, inside, beside, own)
        change = np.linalg.solve(schur, np.hstack([border[inside].T, np.eye(len(schur), p)]))
        beside, own = -change[:p, : len(inside)].T, change[:p, len(inside) :]
        self._inverse = _bordered(self._inverse, inside, beside, own)
        self._inverse[: len(inside), : len(inside)] += border[inside] @ change[:, : len(inside)]
        self._active, self._signs = self._active[stays], self._signs[stays]
        self._units, self._stays = self._units[stays], self._stays[stays]
        self._beside = self._through = np.empty((len(stays), 0))
        self._own = self._schur = np.empty((0, 0))

    def _add(self, columns, new, signs):
        """Let columns join; False where one of them is nearly a combination of others."""
        n, m = len(self._inverse), len(self._own)
        units = 1 / np.sqrt(columns.squares[new] + self._ridge_inside)
        products = columns.products(np.concatenate([self._active, new]), new)
        products *= np.outer(np.concatenate([self._units, units]), units)
        beside, with_joined, own = products[:n], products[n : n + m], products[n + m :]
        np.fill_diagonal(own, 1.0)
        through = self._inverse @ beside
        both = with_joined - self._through.T @ beside
        schur = np.block([[self._schur, both], [both.T, own - beside.T @ through]])
        factor, info = linalg.lapack.dpotrf(schur, lower=True, clean=True)
        if info or np.diagonal(factor).min() ** 2 < _PIVOT:
            if self._stays.all():
                return False
            self._take_in()  # of columns that have left they may be combinations
            return self._add(columns, new, signs)
        self._schur = schur
        self._own = np.block([[self._own, with_joined], [with_joined.T, own]])
        self._beside = np.hstack([self._beside, beside])
        self._through = np.hstack([self._through, through])
        self._active = np.concatenate([self._active, new])
        self._signs = np.concatenate([self._signs, signs])
        self._units = np.concatenate([self._units, units])
        self._stays = np.concatenate([self._stays, np.ones(len(new), dtype=bool)])
        return True


def _bordered(matrix, kept, beside, own):
    """Those rows and columns of a symmetric matrix that are kept, and more of them."""
    n, m = beside.shape
    larger = np.empty((n + m, n + m))
    rows = matrix.take(kept, axis=0)
    np.take(rows, kept, axis=1, out=larger[:n, :n], mode="clip")  # "raise" copies it once more
    larger[:n, n:], larger[n:, :n] = beside, beside.T
    larger[n:, n:] = own
    return larger
