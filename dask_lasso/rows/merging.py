"""What all summaries of rows have in common where they are merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


def merge_counts(parts: Sequence[Any]) -> dict:
    """Rows, chunks and the first defect, placed among all rows, of parts that follow each other."""
    n_rows = n_chunks = 0
    defect = None
    for part in parts:
        if defect is None and part.defect is not None:
            first = part.defect
            defect = first._replace(row=first.row + n_rows, chunk=first.chunk + n_chunks)
        n_rows += part.n_rows
        n_chunks += part.n_chunks
    return {"n_rows": n_rows, "n_chunks": n_chunks, "defect": defect}


class Means(NamedTuple):
    """The means of all rows, and those of p parts about them, times the roots of their weights.

    The sums of products of the latter are what centred moments of the union have beyond
    those of its parts.
    """

    weight: float
    x_mean: np.ndarray  # (k,)
    y_mean: np.ndarray  # (m,)
    x_off: np.ndarray  # (p, k)
    y_off: np.ndarray  # (p, m)


def merge_means(parts: Sequence[Any]) -> Means:
    """The pairwise update of Chan, Golub & LeVeque (1983, eq. 2.1) for all parts at once.

    Of differences from the heaviest part's means, not of the means themselves: exact for a column
    that is constant, accurate for one that is 1e6 +/- 1.
    """
    weights = np.array([part.weight for part in parts])
    weight = weights.sum()
    first = parts[int(np.argmax(weights))]
    root = np.sqrt(weights)[:, np.newaxis]
    means, off = [], []
    for name in ("x_mean", "y_mean"):
        origin = getattr(first, name)
        apart = np.array([getattr(part, name) - origin for part in parts])
        mean = weights @ apart / (weight or 1.0)
        apart -= mean
        apart *= root
        means.append(origin + mean)
        off.append(apart)
    return Means(float(weight), *means, *off)
