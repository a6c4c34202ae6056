"""The lasso along falling alphas, by the columns that have coefficients: its support.

From one alpha to the next few columns come and go, so the inverse of the support's Gram is
updated and not made anew (block inversion: Golub & Van Loan, Matrix Computations, section
2.1.4). The signs tell the linear system, its solution tells which signs turn and which columns
join: a semismooth Newton method (Hintermueller, Ito & Kunisch 2003), as `active.active_set` is.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import linalg

# Changes of the support at one alpha after which there is no solution to be had this way.
_MOST_ROUNDS = 100
# Columns that may join at once: so many, or half as many as there are.
_FEWEST = 64
# Share of a column, squared, that the others must leave for it to join.
_PIVOT = 1e-10
# What a linear system may leave, relatively, before its inverse is made anew.
_LEFT = 1e-9
_EPS = np.finfo(np.float64).eps


class Columns(Protocol):
    """Columns that are penalised alike, and one target: of rows, or of their moments.

    Attributes
    ----------
    xy, squares : ndarray of shape (c,)
        Products with y, and with themselves.
    yy : float

    Notes
    -----
    `correlations` is ``X^T (y - X w)``; `products` are those of some columns with others.
    """

    xy: np.ndarray
    squares: np.ndarray
    yy: float

    def correlations(self, coef: np.ndarray) -> np.ndarray: ...
    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray: ...


class Support:
    """The columns that have coefficients, from one problem to the next.

    Columns may be added to those of the problem, after the ones that were there.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self):
        self._active = np.empty(0, dtype=np.intp)
        self._signs, self._units = np.empty(0), np.empty(0)
        self._gram, self._inverse = np.empty((0, 0)), np.empty((0, 0))
        self._ridge = 0.0

    def solve(
        self, columns: Columns, threshold: float, ridge: float = 0.0, positive: bool = False
    ) -> np.ndarray | None:
        """Coefficients (c,) for ``threshold ||w||_1 + ridge ||w||^2 / 2``, in sums over rows.

        None where columns are nearly combinations of others, or come and go without end.
        """
        slack = 1e-10 * threshold + 8 * _EPS * np.sqrt(columns.squares * columns.yy)
        if ridge != self._ridge and not self._shift(ridge):
            return None
        for _ in range(_MOST_ROUNDS):
            values = self._values(columns.xy[self._active] - threshold * self._signs)
            if values is None:
                break
            turned = values * self._signs <= 0
            if turned.any():
                self._drop(~turned)
                continue
            coef = np.zeros(len(columns.xy))
            coef[self._active] = values
            gradient = columns.correlations(coef)
            excess = (gradient if positive else np.abs(gradient)) - threshold - slack
            excess[self._active] = -np.inf
            new = np.flatnonzero(excess > 0)
            if len(new) == 0:
                return coef
            new = new[np.argsort(-excess[new])][: max(_FEWEST, len(self._active) // 2)]
            # So many at once may be combinations of each other, where fewer are not.
            while len(new) and not self._add(columns, new, np.sign(gradient[new])):
                new = new[: len(new) // 2]
            if len(new) == 0:
                break
        self._clear()
        return None

    def _values(self, rhs):
        """The coefficients of the support; None where its Gram is singular in effect."""
        if len(rhs) == 0:
            return rhs
        rhs = rhs * self._units
        bound = _LEFT * np.linalg.norm(rhs)
        for attempt in range(2):
            if attempt and not self._invert():
                return None
            values = self._inverse @ rhs
            values += self._inverse @ (rhs - self._gram @ values)
            if np.linalg.norm(rhs - self._gram @ values) <= bound:
                return values * self._units
        return None

    def _invert(self):
        if len(self._gram) == 0:
            return True
        factor, info = linalg.lapack.dpotrf(self._gram, lower=True, clean=True)
        if info or np.diagonal(factor).min(initial=1.0) ** 2 < _PIVOT:
            return False
        lower, _ = linalg.lapack.dpotri(factor, lower=True)
        self._inverse = np.tril(lower) + np.tril(lower, -1).T
        return True

    def _shift(self, ridge):
        """Another ridge term: nothing of the inverse can be kept."""
        squares = 1 / self._units**2 + (ridge - self._ridge)
        gram = self._gram / np.outer(self._units, self._units)
        np.fill_diagonal(gram, squares)
        self._units, self._ridge = 1 / np.sqrt(squares), ridge
        self._gram = gram * np.outer(self._units, self._units)
        if self._invert():
            return True
        self._clear()
        return False

    def _drop(self, kept):
        stay, go = np.flatnonzero(kept), np.flatnonzero(~kept)
        self._active, self._signs = self._active[stay], self._signs[stay]
        self._units = self._units[stay]
        self._gram = self._gram.take(stay, axis=0).take(stay, axis=1)
        rows = self._inverse.take(stay, axis=0)
        beside = rows.take(go, axis=1)
        gone = self._inverse[np.ix_(go, go)]
        self._inverse = rows.take(stay, axis=1) - beside @ np.linalg.solve(gone, beside.T)

    def _add(self, columns, new, signs):
        """Let columns join; False where one of them is nearly a combination of others."""
        n_old, n_new = len(self._active), len(new)
        units = 1 / np.sqrt(columns.squares[new] + self._ridge)
        beside = columns.products(self._active, new) * np.outer(self._units, units)
        own = columns.products(new, new) * np.outer(units, units)
        np.fill_diagonal(own, 1.0)
        through = self._inverse @ beside
        factor, info = linalg.lapack.dpotrf(own - beside.T @ through, lower=True, clean=True)
        if info or np.diagonal(factor).min() ** 2 < _PIVOT:
            return False
        left = linalg.lapack.dtrtri(factor, lower=True)[0]
        half = left @ through.T
        inverse = np.empty((n_old + n_new, n_old + n_new))
        np.matmul(half.T, half, out=inverse[:n_old, :n_old])
        inverse[:n_old, :n_old] += self._inverse
        inverse[n_old:, :n_old] = -left.T @ half
        inverse[:n_old, n_old:] = inverse[n_old:, :n_old].T
        inverse[n_old:, n_old:] = left.T @ left
        gram = np.empty_like(inverse)
        gram[:n_old, :n_old], gram[n_old:, n_old:] = self._gram, own
        gram[:n_old, n_old:], gram[n_old:, :n_old] = beside, beside.T
        self._gram, self._inverse = gram, inverse
        self._active = np.concatenate([self._active, new])
        self._signs = np.concatenate([self._signs, signs])
        self._units = np.concatenate([self._units, units])
        return True
