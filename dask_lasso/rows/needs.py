"""What a pass needs of rows with many columns, as the pass itself says.

A task is given whole rows, but looks at few of their columns together. What it finds of every
column it finds of each by itself, perhaps with values that the rows have of the few. So where
columns are in chunks too, a place need not put a row together (`column_chunks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np


class Vectors(NamedTuple):
    """Values (n, p) of rows, with which every column is multiplied."""

    values: np.ndarray


class Targets(NamedTuple):
    """Values (n, m) and weights (n,) of rows, with which the moments of every column are taken.

    In place of y and `sample_weight`; with None those that the rows have are meant.
    """

    values: np.ndarray | None = None
    weights: np.ndarray | None = None


Beside = Vectors | Targets | None


class Needs(NamedTuple):
    """What a task needs, given its arguments.

    Attributes
    ----------
    columns : ndarray of int of shape (c,), or None
        Those that it looks at together, without repetition; None where it looks at none.
    args : callable
        The arguments for rows of these columns alone, given where each is there.
    rows : callable or None
        Where every column is needed, by itself: ``rows(chunks, *args)`` is what the task finds of
        the columns that it looks at together, and a list with, for each chunk, a tuple of what its
        rows have for the others. Nothing, None, is for them where rows are of no use.
    join : callable
        ``join(found, every)``: the result, of that and a list of what was found of every column:
        products (k, p) with `Vectors`, `ColumnMoments` with `Targets`, None with None.
    """

    columns: np.ndarray | None
    args: Callable[[np.ndarray], tuple] = lambda at: ()
    rows: Callable | None = None
    join: Callable[[Any, list], Any] = lambda found, every: every[0]


_Task = TypeVar("_Task", bound=Callable)
_SAID: dict[Callable, Callable[..., Needs | None]] = {}


def needs(said: Callable[..., Needs | None]) -> Callable[[_Task], _Task]:
    """Declare of a task what it needs: ``said(*args)`` of its arguments after the chunks.

    Of a task without it, or where that is None, whole rows are put together.
    """

    def declared(task: _Task) -> _Task:
        _SAID[task] = said
        return task

    return declared


def needs_of(task: Callable, args: Sequence) -> Needs | None:
    """What has been declared of a task."""
    said = _SAID.get(task)
    return None if said is None else said(*args)


def of_first(columns: np.ndarray, *args: Any) -> Needs:
    """Of a task that looks at the columns alone which are its first argument."""
    return Needs(columns, lambda at: (at, *args))


def of_several(sets: Sequence[np.ndarray], args: Callable[[list[np.ndarray]], tuple]) -> Needs:
    """Of a task that looks at several sets of columns; `args` of where those of each are."""
    columns = np.unique(np.concatenate([np.empty(0, dtype=np.intp), *sets]))
    places = [np.searchsorted(columns, of_set) for of_set in sets]
    return Needs(columns, lambda at: args([at[places_of] for places_of in places]))


def among(parts: Sequence[Vectors | Targets], index: Sequence, n: int) -> Vectors | Targets:
    """What some of n rows have for every column; the others count nothing.

    Parameters
    ----------
    parts : sequence
        All of one kind.
    index : sequence of slice or ndarray
        Which of the rows each part is of.
    """
    values = np.zeros((n, parts[0].values.shape[1]))
    weights = np.zeros(n)
    for part, rows in zip(parts, index, strict=True):
        values[rows] = part.values
        if isinstance(part, Targets):
            weights[rows] = 1.0 if part.weights is None else part.weights
    return Targets(values, weights) if isinstance(parts[0], Targets) else Vectors(values)
