"""Raw rows of chunks, which stay where they are: what is summed over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..problem.metric import Metric
from ..problem.moments import is_rounding
from .chunk import Defect, to_host
from .merging import merge_counts, merge_means
from .statistics import value_defect
from .tiles import CACHE_ITEMS


class Rows(NamedTuple):
    """The raw rows of one chunk, where they are worked on."""

    X: np.ndarray | sparse.csr_array  # (n, k), or (n, k + 1) with a column of ones for `Pair`
    y: np.ndarray  # (n, m)
    weight: np.ndarray | None  # (n, 1)
    defect: Defect | None = None  # then there is nothing else


class Summary(NamedTuple):
    """The first pass over a block's rows: counts, centres and scales, and what is wrong."""

    n_rows: int
    n_chunks: int
    weight: float
    x_mean: np.ndarray  # (k,)
    x_square: np.ndarray  # (k,), sums of squares about the mean
    y_mean: np.ndarray  # (m,)
    null: np.ndarray  # (m,), twice the loss of a constant
    curvature: float  # mean second derivative of the loss along a standardised column
    defect: Defect | None = None
    free: Free | None = None

    @property
    def x_variation(self):
        """`x_square`, and zero where it is what rounding makes of a constant column."""
        return np.where(is_rounding(self.x_square, self.x_mean, self.weight), 0.0, self.x_square)


class Free(NamedTuple):
    """Columns that are not penalised, and what they have in common with all; centred sums."""

    x: np.ndarray  # (f, k)
    y: np.ndarray  # (f, m)
    largest: np.ndarray  # (f,), largest absolute values


class Sums(NamedTuple):
    """A block's part of a certificate at some beta; sums over its rows, per target.

    With theta the derivative of the loss at the residuals, any shift and scaling of the
    dual point theta is a formula in these, so one look at the rows is enough.
    """

    loss: np.ndarray  # (m,)
    curved: float  # weight of the rows where the loss has curvature, mean over targets
    theta: np.ndarray | None = None  # (m,)
    theta_y: np.ndarray | None = None  # (m,)
    theta_theta: np.ndarray | None = None  # (m,)
    x_theta: np.ndarray | None = None  # (k, m)


def raw_rows(chunk, *, ones=False) -> Rows:
    """One chunk as `Rows` of NumPy, without a copy where it is a float array already."""
    if chunk.defect is not None:
        nothing = np.empty((chunk.n_rows, 0))
        return Rows(nothing, nothing, None, chunk.defect)
    X, y, weight = chunk.arrays()
    X = X.tocsr() if sparse.issparse(X) else to_host(X)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if ones:
        column = np.ones((X.shape[0], 1), dtype=X.dtype)
        stack = sparse.hstack if sparse.issparse(X) else np.hstack
        X = stack([X, column])
        X = sparse.csr_array(X) if sparse.issparse(X) else X
    return Rows(X, y, None if weight is None else weight[:, np.newaxis])


def summarise(
    chunks: list[Rows], loss, fit_intercept: bool, ones: bool, free: np.ndarray
) -> Summary:
    """The `Summary` of a block of chunks; `free` are the columns that are not penalised."""
    parts = [_summarise_chunk(rows, loss, fit_intercept, ones, free) for rows in chunks]
    return merge_summaries(parts, free)


def _summarise_chunk(rows, loss, fit_intercept, ones, free):
    n, width = rows.X.shape
    k = width - ones
    flat_weight = None if rows.weight is None else rows.weight[:, 0]
    m = rows.y.shape[1]
    defect = rows.defect
    zeros = np.zeros(k)
    if defect is None and n:
        with np.errstate(invalid="ignore", over="ignore"):
            weight = float(n) if flat_weight is None else float(flat_weight.sum())
            x_mean, x_square = _column_moments(rows.X[:, :k], flat_weight)
            shares = np.full(n, 1.0 / n) if flat_weight is None else flat_weight / (weight or 1.0)
            y_mean = shares @ rows.y
            finite = np.isfinite(x_square).all() and np.isfinite(y_mean).all()
            if not (finite and (shares >= 0).all()):
                defect = value_defect(rows.X, rows.y, flat_weight)
    if defect is not None or n == 0:
        nothing = np.zeros(m)
        return Summary(n, 1, 0.0, zeros, zeros, nothing, nothing, 0.0, defect)
    null, curvature = np.full(m, np.nan), weight
    if loss.has_conjugate:
        deviation = rows.y - y_mean if fit_intercept else rows.y
        null = 2 * loss.total(deviation, loss.theta(deviation), rows.weight)
        curvature = weight * float((np.abs(deviation) < loss.delta).mean())
    else:
        curvature = _curvature(rows, loss, x_mean, x_square, fit_intercept)
    found = Summary(n, 1, weight, x_mean, x_square, y_mean, null, curvature)
    if len(free) == 0:
        return found
    return found._replace(free=_free_moments(rows, found, free))


def _free_moments(rows, summary, free):
    """Centred products of the unpenalised columns with all, in row tiles."""
    X, k = rows.X, len(summary.x_mean)
    x, y = np.zeros((len(free), k)), np.zeros((len(free), rows.y.shape[1]))
    largest = np.zeros(len(free))
    step = max(1, CACHE_ITEMS // k)
    for start in range(0, X.shape[0], step):
        tile = slice(start, start + step)
        values = X[tile][:, free]
        values = values.toarray() if sparse.issparse(values) else values.astype(np.float64)
        largest = np.maximum(largest, np.abs(values).max(axis=0))
        values = values - summary.x_mean[free]
        weighted = values if rows.weight is None else rows.weight[tile] * values
        x += (X[tile, :k].T @ weighted).T - np.outer(weighted.sum(axis=0), summary.x_mean)
        y += weighted.T @ (rows.y[tile] - summary.y_mean)
    return Free(x, y, largest)


def _column_moments(X, weight):
    """Weighted means of the columns and sums of squares about them, in row tiles."""
    n = X.shape[0]
    weight = np.ones(n) if weight is None else weight
    total = weight.sum() or 1.0
    if sparse.issparse(X):
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        k, column, values = X.shape[1], X.indices, X.data.astype(np.float64)
        weight = np.repeat(weight, np.diff(X.indptr))
        mean = np.bincount(column, weight * values, k) / total
        square = np.bincount(column, weight * (values - mean[column]) ** 2, k)
        beside = np.maximum(total - np.bincount(column, weight, k), 0.0)  # of the zeros
        beside[np.bincount(column, minlength=k) == n] = 0.0
        return mean, square + beside * mean**2
    shift = X[:: max(1, n // 256)].mean(axis=0, dtype=np.float64)
    first, second = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    step = max(1, CACHE_ITEMS // max(1, X.shape[1]))
    for start in range(0, n, step):
        tile = X[start : start + step] - shift
        w = weight[start : start + step]
        first += w @ tile
        second += np.einsum("i,ij,ij->j", w, tile, tile)
    return shift + first / total, np.maximum(second - first**2 / total, 0.0)


def _curvature(rows, loss, x_mean, x_square, fit_intercept):
    """Mean second derivative of a user's loss, by a difference of gradients.

    Along a random vector of signs, ``d.H d / k`` is on average the mean of H's diagonal
    (Hutchinson 1990).
    """
    k, n = len(x_mean), rows.X.shape[0]
    scale = np.sqrt(x_square / n)
    scale[scale == 0] = 1.0
    metric = Metric(0, x_mean if fit_intercept else np.zeros(k), np.zeros(1), scale, fit_intercept)
    v = np.zeros((k + fit_intercept, 1))
    d = np.random.default_rng(0).choice([-1.0, 1.0], size=v.shape)
    step = 1e-4 / np.sqrt(len(d))

    def gradient(v):
        beta = metric.to_beta(v)
        value, gradient = loss.value_and_gradient(beta, rows)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            bad = int((~np.isfinite(gradient)).sum())
            raise ValueError(
                f"loss: where the fit starts, at a beta near zero, f is {value} and fprime has"
                f" {bad} values that are not finite: define the loss there."
            )
        return metric.pull_back(gradient)

    change = np.vdot(d, gradient(v + step * d) - gradient(v)) / step
    return max(float(change) / len(d), 0.0)


def merge_summaries(parts: list[Summary], free=()) -> Summary:
    """The `Summary` of the union of disjoint rows (Chan, Golub & LeVeque 1983)."""
    if len(parts) == 1:
        return parts[0]
    counts = merge_counts(parts)
    if counts["defect"] is not None:
        return parts[0]._replace(**counts)
    means = merge_means(parts)
    return Summary(
        **counts,
        weight=means.weight,
        x_mean=means.x_mean,
        x_square=sum(p.x_square for p in parts) + np.einsum("ij,ij->j", means.x_off, means.x_off),
        y_mean=means.y_mean,
        null=sum(part.null for part in parts),
        curvature=sum(part.curvature for part in parts),
        free=_merge_free(parts, means, free),
    )


def _merge_free(parts, means, free):
    found = [part.free for part in parts if part.free is not None]
    if not found:
        return None
    apart = means.x_off[:, free].T
    return Free(
        sum(part.x for part in found) + apart @ means.x_off,
        sum(part.y for part in found) + apart @ means.y_off,
        np.max([part.largest for part in found], axis=0),
    )


def sums(chunks: list[Rows], loss, beta) -> Sums:
    """A block's part of the certificate at `beta`."""
    return add_sums([_sums_of_chunk(rows, loss, beta) for rows in chunks])


def add_sums(parts: list[Sums]) -> Sums:
    """The `Sums` of the union of disjoint rows."""
    columns = zip(*parts, strict=True)
    return Sums(*(None if column[0] is None else sum(column) for column in columns))


def _sums_of_chunk(rows, loss, beta):
    if not loss.has_conjugate:
        value = loss.value(beta, rows)
        if np.isnan(value):
            raise ValueError(
                "loss: f returned NaN for an estimate of beta: it must be defined for every beta."
            )
        return Sums(np.array([value]), 0.0)
    residual, correlation = loss.residual_and_correlation(beta, rows)
    theta = loss.theta(residual)
    weight = 1.0 if rows.weight is None else rows.weight
    weighted = weight * theta
    return Sums(
        loss=loss.total(residual, theta, rows.weight),
        curved=float((weight * (np.abs(residual) < loss.delta)).sum() / residual.shape[1]),
        theta=weighted.sum(axis=0),
        theta_y=np.einsum("it,it->t", weighted, rows.y),
        theta_theta=np.einsum("it,it->t", weighted, theta),
        x_theta=correlation[: rows.X.shape[1]],
    )
