"""Some columns of all rows, held together: where the rows are few, or the columns sparse.

A lasso of c columns needs their Gram matrix, or the columns. Of fewer than c rows the columns
are the smaller of the two, and of sparse rows nearly nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..problem.moments import is_rounding
from .chunk import Chunk, to_host
from .needs import needs, of_first
from .passes import take_columns, take_sparse
from .tiles import CACHE_ITEMS

_EPS = np.finfo(np.float64).eps


class Part(NamedTuple):
    """Columns of some rows, the first of them `start`: as they are, for narrow ones travel fast."""

    start: int
    columns: Any
    y: np.ndarray | None
    weights: np.ndarray | None


class Positions:
    """In place of a `Partition`: each chunk is told which row of all is its first."""

    def between(self, start: int, stop: int) -> int:
        return start


@needs(of_first)
def read_columns(
    chunks: Iterable[tuple[Chunk, int]], columns: np.ndarray, with_y: bool
) -> list[Part]:
    """The columns, as a pass finds them; with y and the weights of the rows, or without."""
    parts = []
    for chunk, start in chunks:
        X, y, weights = chunk.arrays()
        if len(y) == 0:
            continue
        taken = take_sparse(X, columns) if sparse.issparse(X) else to_host(take_columns(X, columns))
        if not with_y:
            parts.append(Part(start, taken, None, None))
        else:
            weights = np.ones(len(y)) if weights is None else weights
            parts.append(Part(start, taken, y[:, 0], weights))
    return parts


def join_parts(lists: Iterable[list[Part]]) -> list[Part]:
    """Of the union of disjoint rows, in their order."""
    return sorted(chain.from_iterable(lists), key=attrgetter("start"))


class Held:
    """Columns of all rows that have been read so far, in units in which they are penalised alike.

    Attributes
    ----------
    columns : ndarray of int of shape (c,)
        Those that are held.
    """

    def __init__(self) -> None:
        self.columns = np.empty(0, dtype=np.intp)
        self.y = self.weights = np.empty(0)
        self._values: Any = None
        self.centre = np.empty(0)  # of the columns as they are held, less what was taken off

    @property
    def values(self) -> Any:
        """The columns (n, c): Fortran-ordered, about their means, or CSC."""
        return self._values if sparse.issparse(self._values) else self._values.T

    def tiles(self, columns: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices of `columns`, and those dense columns (c, n), until the next."""
        height = max(1, min(len(columns), CACHE_ITEMS // len(self.y)))
        tile = np.empty((height, len(self.y)))
        for start in range(0, len(columns), height):
            part = slice(start, min(start + height, len(columns)))
            into = tile[: part.stop - start]
            yield part, np.take(self._values, columns[part], axis=0, out=into, mode="clip")

    def positions(self, columns: np.ndarray) -> np.ndarray:
        """Where columns are that are held."""
        order = np.argsort(self.columns)
        return order[np.searchsorted(self.columns[order], columns)]

    def correlations(self, vector: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Products of a vector (n,) with the columns at some positions."""
        # Columns that are copied first take twice as long.
        if sparse.issparse(self._values) or 2 * len(positions) > len(self.columns):
            return (vector @ self.values)[positions]
        found = np.empty(len(positions))
        for part, tile in self.tiles(positions):
            found[part] = tile @ vector
        return found

    def take(
        self,
        parts: list[Part],
        columns: np.ndarray,
        means: tuple[np.ndarray, np.ndarray],
        units: np.ndarray,
    ) -> None:
        """Hold further columns, about their `means` (c,), and y (1,); divided by `units` (c,)."""
        x_mean, y_mean = means
        if self._values is None:
            self.y = np.concatenate([part.y for part in parts]) - y_mean
            self.weights = np.concatenate([part.weights for part in parts])
        n_old, n_new = len(self.columns), len(columns)
        self.columns = np.concatenate([self.columns, columns])
        blocks = [part.columns for part in parts]
        if any(map(sparse.issparse, blocks)):
            new = sparse.csc_array(sparse.vstack(blocks) @ sparse.diags_array(1 / units))
            old = [] if self._values is None else [self._values]
            self._values = sparse.hstack([*old, new], format="csc")
            self.centre = np.concatenate([self.centre, x_mean / units])
            return
        self.centre = np.zeros(n_old + n_new)
        shape = n_old + n_new, len(self.y)
        if self._values is None:
            self._values = np.empty(shape)
        else:
            self._values.resize(shape, refcheck=False)  # where it is: nobody looks at it meanwhile
        into = self._values[n_old:]
        stop = 0
        for block in blocks:
            start, stop = stop, stop + len(block)
            np.subtract(block.T, x_mean[:, np.newaxis], out=into[:, start:stop])
        into /= units[:, np.newaxis]


class HeldSet:
    """A set of rows: each of those that are held, as often as it counts; and some columns of them.

    Attributes
    ----------
    positions : ndarray of int of shape (c,)
        The set's columns among those that are held.
    weight : float
    xy, squares, yy, near : as of `problem.support.Columns`
    """

    def __init__(self, held: Held, counts: np.ndarray, fit_intercept: bool) -> None:
        self._held, self._counts = held, counts * held.weights
        self._fit_intercept = fit_intercept
        self.weight = float(self._counts.sum())
        self._y_mean = 0.0
        if fit_intercept and self.weight:  # of differences, which a constant has none of
            one = held.y[np.argmax(self._counts)]
            apart = self._counts @ (held.y - one) / self.weight
            self._y_mean = float(one + apart)
        self._y = held.y - self._y_mean
        self.yy = float(self._counts @ self._y**2)
        self.positions = self.near = np.empty(0, dtype=np.intp)
        self.xy = self.squares = self._x_mean = np.empty(0)

    def grow(self, columns: np.ndarray) -> None:
        """Let columns that are held be the near ones, and take those of them in that are new."""
        held, near = self._held, self._held.positions(columns)
        positions = near[~np.isin(near, self.positions)]
        self.positions = np.concatenate([self.positions, positions])
        self.near = np.flatnonzero(np.isin(self.positions, near))
        new = held.values[:, positions]
        means = np.zeros(new.shape[1])
        if self._fit_intercept and self.weight:
            means = self._counts @ new / self.weight
        if sparse.issparse(new):
            raw = self._counts @ new.power(2)
            squares = raw - self.weight * means**2
            constant = squares <= len(held.y) * _EPS * raw
        else:
            squares = self._counts @ (new - means) ** 2
            constant = is_rounding(squares, means, self.weight)
        squares[constant] = 0.0
        self._x_mean = np.concatenate([self._x_mean, means])
        self.squares = np.concatenate([self.squares, squares])
        xy = np.where(constant, 0.0, (self._counts * self._y) @ new)
        self.xy = np.concatenate([self.xy, xy])

    def residual(self, coef: np.ndarray) -> np.ndarray:
        """Of coefficients (c,): of each row, as often as it counts."""
        held, used = self._held, np.flatnonzero(coef)
        coef, positions = coef[used], self.positions[used]
        fitted = np.full(len(held.y), -(self._x_mean[used] @ coef))
        if sparse.issparse(held.values):
            of_held = np.zeros(len(held.columns))
            of_held[positions] = coef
            fitted += held.values @ of_held
        else:
            for part, tile in held.tiles(positions):
                fitted += coef[part] @ tile
        return self._counts * (self._y - fitted)

    def correlations(self, residual: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Of the set's columns `of`, (c,), with a `residual`."""
        found = self._held.correlations(residual, self.positions[of])
        return found - residual.sum() * self._x_mean[of]

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Of columns `left` with columns `right`."""
        held, weights = self._held, self._counts
        of_left, of_right = self.positions[left], self.positions[right]
        if sparse.issparse(held.values):
            weighted = sparse.diags_array(weights) @ held.values[:, of_right]
            found = (held.values[:, of_left].T @ weighted).toarray()
        else:
            found, weighted = np.empty((len(left), len(right))), held.values.T[of_right]
            weighted *= weights
            for part, tile in held.tiles(of_left):
                np.matmul(tile, weighted.T, out=found[part])
        return found - self.weight * np.outer(self._x_mean[left], self._x_mean[right])

    def level(self, coef: np.ndarray) -> np.ndarray:
        """Intercepts (n,) of coefficients (c, n), of columns and y about the means of `take`."""
        return self._y_mean - (self._x_mean - self._held.centre[self.positions]) @ coef
