"""Linear predictors of the rows that splits hold out, for scores of all of them, or of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from ..problem.losses import Certified
from ..problem.softmax import Softmax
from .cells import codes_of
from .chunk import Chunk
from .needs import Needs, needs, of_several
from .newton_columns import of_columns
from .passes import take_columns, take_sparse
from .raw import raw_rows

Labelled = Iterable[tuple[Chunk, list[np.ndarray]]]


class Linear(NamedTuple):
    """Coefficients (c, p) of some columns (c,), the others are zero, and intercepts (p,)."""

    columns: np.ndarray
    coef: np.ndarray
    intercepts: np.ndarray


class HeldOut(NamedTuple):
    """Linear predictors (n, p) of the rows of a test set, targets (n, m) and weights (n,)."""

    eta: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


def _of_models(models, *args) -> Needs:
    """Of a task on the columns that models have."""

    def at(places):
        pairs = zip(models, places, strict=True)
        return ([model._replace(columns=its) for model, its in pairs], *args)

    return of_several([model.columns for model in models], at)


@needs(_of_models)
def held_out(
    chunks: Labelled, models: list[Linear], tests: list[tuple[int, np.ndarray]]
) -> list[list[HeldOut]]:
    """Of each test set, how often the rows of each cell are in it, by the model of its split."""
    found: list[list[HeldOut]] = [[] for _ in tests]
    columns = np.unique(np.concatenate([model.columns for model in models]))
    for chunk, labels in chunks:
        if chunk.n_rows == 0:
            continue
        rows = raw_rows(of_columns(chunk, columns))
        codes = [codes_of(cells, chunk.n_rows) for cells in labels]
        for into, model, (labelling, times) in zip(found, models, tests, strict=True):
            index = np.repeat(np.arange(chunk.n_rows), times[codes[labelling]].astype(np.intp))
            if not len(index):
                continue
            X, at = rows.X[index], np.searchsorted(columns, model.columns)
            take = take_sparse if sparse.issparse(X) else take_columns
            eta = take(X, at) @ model.coef + model.intercepts
            if rows.offset is not None:
                eta += rows.offset[index]
            weight = None if rows.weight is None else rows.weight[index, 0]
            into.append(HeldOut(eta, rows.y[index], weight))
    return found


def merge_held_out(parts: Iterable[list[list[HeldOut]]]) -> list[list[HeldOut]]:
    """The same of disjoint rows, of each test set a list of parts."""
    return [[one for of_part in of_test for one in of_part] for of_test in zip(*parts, strict=True)]


class MeanScores(NamedTuple):
    """Sums (n_splits, ...) of scores times the weight of the rows that they are of, and weights."""

    sums: Any = 0.0
    weight: Any = 0.0


@needs(_of_models)
def mean_scores(
    chunks: Labelled,
    models: list[Linear],
    tests: list[tuple[int, np.ndarray]],
    score: Callable[[HeldOut], np.ndarray],
    shape: tuple[int, ...],
) -> MeanScores:
    """Scores (shape) that are means over rows, chunk by chunk: no row leaves its worker."""
    sums, weights = np.zeros((len(tests), *shape)), np.zeros((len(tests), *(1 for _ in shape)))
    for labelled in chunks:
        for split, parts in enumerate(held_out([labelled], models, tests)):
            for part in parts:
                weight = len(part.y) if part.weight is None else part.weight.sum()
                if weight > 0:
                    sums[split] += weight * score(part)
                    weights[split] += weight
    return MeanScores(sums, weights)


def mean_deviances(part: HeldOut, loss: Certified | Softmax) -> np.ndarray:
    """Mean deviances of some rows: one for each model, of several classes for each K columns."""
    y = part.y
    with np.errstate(over="ignore"):
        if isinstance(loss, Softmax):
            eta = part.eta.reshape(len(y), loss.n_classes, -1)
            values = logsumexp(eta, axis=1)
            values -= eta[np.arange(len(y)), y[:, 0].astype(np.intp)]
        else:
            values = loss.value(part.eta, y) + loss.conjugate(np.zeros_like(y), y)
    return 2 * np.average(values, axis=0, weights=part.weight)
