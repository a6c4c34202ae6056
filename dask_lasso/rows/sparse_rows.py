"""Products of sparse rows that make few new arrays, and rows without a copy.

On workers memory that is let go of is the system's at once (`MALLOC_TRIM_THRESHOLD_`, which
distributed sets), so that a new array is new pages, and these cost as much as a product. SciPy
makes a vector of each, which may be much longer than a chunk has values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from .tiles import CACHE_ITEMS

try:  # what SciPy's own products are of, private there
    from scipy.sparse._sparsetools import csc_matvec, csr_matvec
except ImportError:
    csc_matvec = csr_matvec = None

# Share of a sparse column that is stored from which on products of dense tiles are faster: they
# take 0.025 ns a value, those of stored values 5 ns.
_OFTEN = 1 / 16


def add_in_place(X: Any, r: np.ndarray, into: np.ndarray) -> None:
    """Add ``X^T r`` of vectors to `into`, which is contiguous; CSR or CSC."""
    function = csc_matvec if X.format == "csr" else csr_matvec
    if function is None or into.dtype != np.result_type(X.dtype, r.dtype):
        into += X.T @ r
    else:
        n, k = X.shape
        function(k, n, X.indptr, X.indices, X.data, r, into)


def consecutive(X: sparse.csr_array, rows: slice) -> sparse.csr_array:
    """Consecutive rows of CSR, without the copy that SciPy makes."""
    indptr = X.indptr[rows.start : rows.stop + 1]
    values = slice(indptr[0], indptr[-1])
    part = (X.data[values], X.indices[values], indptr - indptr[0])
    return sparse.csr_array(part, shape=(len(indptr) - 1, X.shape[1]))


def stored_often(X: sparse.csr_array) -> np.ndarray:
    """Columns that may be far from zero, for the others are mostly zero."""
    n, k = X.shape
    return np.flatnonzero(np.bincount(X.indices, minlength=k) > _OFTEN * n)


def gram_of_sparse(
    X: sparse.csr_array, weights: np.ndarray | None, often: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """``X^T W X``, of shape (k, k), of float64 rows.

    The columns that are stored `often` are taken as dense tiles, where that is faster; and about a
    point `shift` (k,), which is zero for the others.
    """
    n, k = X.shape
    seldom = np.setdiff1d(np.arange(k), often)
    root = None if weights is None else np.sqrt(weights)
    if root is not None:
        X = sparse.csr_array(
            (X.data * np.repeat(root, np.diff(X.indptr)), X.indices, X.indptr), shape=X.shape
        )
    left = X if len(seldom) == k else X[:, seldom]
    own = (left.T @ left).toarray()
    if len(seldom) == k:
        return own
    gram = np.zeros((k, k))
    gram[np.ix_(seldom, seldom)] = own
    own, beside = np.zeros((len(often), len(often))), np.zeros((len(often), len(seldom)))
    dense, height = X[:, often] if len(seldom) else X, max(256, CACHE_ITEMS // len(often))
    buffer, product = np.empty((min(n, height), len(often))), np.empty_like(own)
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        tile = consecutive(dense, rows).toarray(out=buffer[: rows.stop - start])
        if shift.any():
            tile -= shift[often] if root is None else np.outer(root[rows], shift[often])
        own += np.matmul(tile.T, tile, out=product)  # the same array twice is half the work (syrk)
        if len(seldom):
            beside += tile.T @ consecutive(left, rows)
    gram[np.ix_(often, often)] = own
    gram[np.ix_(often, seldom)] = beside
    gram[np.ix_(seldom, often)] = beside.T
    return gram
