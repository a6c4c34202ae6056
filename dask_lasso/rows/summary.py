"""The first pass over raw rows: what their updates and certificates are relative to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..problem.moments import is_rounding
from .chunk import Chunk, Defect
from .columns import column_moments
from .losses import ChunkLoss, RowLoss
from .merging import merge_counts, merge_means
from .raw import Rows, moments_of
from .statistics import Statistics, merge_statistics
from .tiles import CACHE_ITEMS


class Summary(NamedTuple):
    """The first pass over a block's rows: counts, centres and scales, and what is wrong."""

    n_rows: int
    n_chunks: int
    weight: float
    x_mean: np.ndarray  # (k,)
    x_square: np.ndarray  # (k,), sums of squares about the mean
    y_mean: np.ndarray  # (m,)
    start: np.ndarray  # (m,), where the intercept starts
    null: np.ndarray  # (m,), twice the loss of a constant
    curvature: float  # of the loss along a standardised column, summed over rows
    defect: Defect | None = None
    free: Free | None = None
    sample: Statistics | None = None  # of some rows, with the weight of all

    @property
    def x_variation(self) -> np.ndarray:
        """`x_square`, and zero where it is what rounding makes of a constant column."""
        return np.where(is_rounding(self.x_square, self.x_mean, self.weight), 0.0, self.x_square)


class Free(NamedTuple):
    """Columns that are not penalised, and what they have in common with all; centred sums."""

    x: np.ndarray  # (f, k)
    y: np.ndarray  # (f, m)
    largest: np.ndarray  # (f,), largest absolute values


def summarise(
    chunks: list[Rows], loss: RowLoss | ChunkLoss, free: np.ndarray, with_sample: bool
) -> Summary:
    """The `Summary` of a block of chunks; `free` are the columns that are not penalised."""
    parts = [_summarise_chunk(loss.prepared(rows), loss, free, with_sample) for rows in chunks]
    return merge_summaries(parts, free)


def _summarise_chunk(rows, loss, free, with_sample):
    n, width = rows.X.shape
    k, m = width - loss.has_ones, rows.y.shape[1]
    defect = rows.defect
    if defect is None and n:
        weight = None if rows.weight is None else rows.weight[:, 0]
        columns = column_moments([Chunk(rows.X[:, :k], rows.y, weight, n)])
        defect = columns.defect
    if defect is not None or n == 0:
        none, nothing = np.zeros(k), np.zeros(m)
        return Summary(n, 1, 0.0, none, none, nothing, nothing, nothing, 0.0, defect)
    means = columns.weight, columns.x_mean, columns.xx, columns.y_mean
    start = loss.start(rows, columns.y_mean, (columns.x_mean, columns.xx))
    found = Summary(n, 1, *means, *start)
    if with_sample:
        found = found._replace(sample=moments_of(rows.sample(k)))
    return found._replace(free=_free_moments(rows, found, free)) if len(free) else found


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


def merge_summaries(parts: list[Summary], free: np.ndarray | tuple = ()) -> Summary:
    """The `Summary` of the union of disjoint rows (Chan, Golub & LeVeque 1983)."""
    if len(parts) == 1:
        return parts[0]
    counts = merge_counts(parts)
    if counts["defect"] is not None:
        return parts[0]._replace(**counts)
    means = merge_means(parts)
    weights = np.array([part.weight for part in parts])
    samples = [part.sample for part in parts if part.sample is not None]
    return Summary(
        **counts,
        weight=means.weight,
        x_mean=means.x_mean,
        x_square=sum(p.x_square for p in parts) + np.einsum("ij,ij->j", means.x_off, means.x_off),
        y_mean=means.y_mean,
        start=weights @ np.array([part.start for part in parts]) / (means.weight or 1.0),
        null=np.sum([part.null for part in parts], axis=0),
        curvature=sum(part.curvature for part in parts),
        free=_merge_free(parts, means, free),
        sample=merge_statistics(samples) if samples else None,
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
