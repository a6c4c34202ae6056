"""Any input, made into rows in a known place: arrays in memory, or aligned dask arrays.

Everything that can be told without reading a chunk is checked here; what only the
values tell (NaN, lengths of chunks of unknown size) the workers find in the one pass.
"""

from __future__ import annotations

import numbers
from contextlib import contextmanager

import numpy as np
from scipy import sparse
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    validate_data,
)


def is_dask(*objects) -> bool:
    """Whether any of `objects` is a dask collection."""
    return any(hasattr(obj, "__dask_graph__") for obj in objects)


@contextmanager
def open_rows(estimator, X, y, sample_weight, *, client=None, n_blocks="auto", reset=True):
    """Check the input of a fit and yield the place where its rows are.

    Yields
    ------
    `InMemory` or `OnCluster`
        Whatever was started for the fit ends with the context.
    """
    if isinstance(sample_weight, numbers.Number):
        sample_weight = None  # as scikit-learn's Lasso: the same weight for all is none
    if is_dask(X, y, sample_weight):
        from ._cluster import OnCluster, client_for_fit

        arrays = dask_rows(estimator, X, y, sample_weight, reset=reset)
        with client_for_fit(client) as client:
            with OnCluster(client, *arrays, n_blocks) as place:
                yield place
    else:
        from ._memory import InMemory

        arrays = memory_rows(estimator, X, y, sample_weight, reset=reset)
        with InMemory(*arrays, n_blocks, given=(X, y, sample_weight)) as place:
            yield place


def memory_rows(estimator, X, y, sample_weight, *, reset=True):
    """In-memory input as arrays; finiteness is left to the pass over the rows."""
    for name, values in (("X", X), ("y", y)):
        dtype = getattr(values, "dtype", None)
        if getattr(dtype, "kind", None) == "c":  # scikit-learn's message names no argument
            _check_real(name, dtype)
    common = dict(accept_sparse="csr", ensure_all_finite=False)
    X, y = validate_data(
        estimator,
        X,
        y,
        reset=reset,
        validate_separately=(
            dict(common, dtype=[np.float64, np.float32]),
            dict(common, ensure_2d=False, dtype="numeric"),
        ),
    )
    check_consistent_length(X, y)
    if sparse.issparse(y):
        y = y.toarray()
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    return X, y, sample_weight


def dask_rows(estimator, X, y, sample_weight, *, reset=True):
    """Dask input as arrays with the same row chunks; X in one chunk along the columns."""
    if y is None:
        raise ValueError(
            f"requires y to be passed, but the target y is None: call"
            f" {type(estimator).__name__}.fit(X, y)."
        )
    X = features(estimator, X, y, reset=reset)
    y = _as_array("y", y, X)
    if y.ndim not in (1, 2):
        raise ValueError(f"y should be a 1d or 2d array, got an array of shape {y.shape}.")
    if y.ndim == 2:
        y = _one_column_chunk("y", y)
    if sample_weight is not None:
        sample_weight = _as_array("sample_weight", sample_weight, X)
        if sample_weight.ndim != 1:
            raise ValueError(
                f"Sample weights must be 1D array or scalar, got shape {sample_weight.shape}."
            )
        sample_weight = _align("sample_weight", sample_weight, X)
    return X, _align("y", y, X), sample_weight


def features(estimator, X, like=None, *, reset):
    """Feature matrix of a fit (`reset`) or a prediction as a dask array, checked."""
    names = getattr(X, "_meta", X) if hasattr(X, "columns") else None
    X = _as_array("X", X, like)
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead: X has shape {X.shape}. Reshape"
            " your data with X[:, None] if it has a single feature or X[None, :] if it is a"
            " single sample."
        )
    if np.isnan(X.shape[1]):
        raise ValueError(
            "X has an unknown number of columns: call X.compute_chunk_sizes() before fit."
        )
    if X.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required."
        )
    # Only names and number of features are looked at, so an array without rows will do.
    stand_in = np.empty((0, X.shape[1])) if names is None else names
    validate_data(estimator, stand_in, reset=reset, skip_check_array=True)
    return _one_column_chunk("X", X)


def _as_array(name, values, like=None):
    """One argument as a dask array of numbers; in-memory values are chunked like `like`."""
    import dask.array as da

    if isinstance(values, da.Array):
        array = values
    elif is_dask(values):
        array = _frame_to_array(name, values)
    else:
        values = check_array(
            values,
            accept_sparse="csr",
            dtype=None,
            ensure_2d=False,
            ensure_all_finite=False,
            input_name=name,
        )
        chunks = getattr(like, "chunks", [np.nan if is_dask(like) else "auto"])[0]
        if is_dask(like) and np.isnan(np.sum(chunks)):
            raise ValueError(
                f"{name} is in memory and the other input is in chunks of unknown size: pass"
                f" {name} as a dask collection with the same chunks, or call"
                " compute_chunk_sizes() on the dask array (to_dask_array(lengths=True) on the"
                " data frame) first."
            )
        if values.shape[0] != like.shape[0]:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples:"
                f" {name} has {values.shape[0]}, the other input {int(like.shape[0])}."
            )
        rest = (-1,) * (values.ndim - 1)
        array = da.from_array(values, chunks=(chunks, *rest), asarray=False)
    _check_real(name, array.dtype)
    return array


def _check_real(name, dtype):
    if dtype.kind not in "buif":
        raise ValueError(
            f"{name} has dtype {dtype}, which is not a real number"
            + (": Complex data not supported." if dtype.kind == "c" else ".")
            + f" Convert {name} first, for example with {name}.astype(float)."
        )


def _frame_to_array(name, frame):
    """A dask DataFrame or Series as an array with chunks of unknown size."""
    meta = getattr(frame, "_meta", None)
    if not hasattr(meta, "dtypes"):
        raise TypeError(f"{name} must be an array or a data frame, got {type(frame).__name__}.")
    dtypes = list(meta.dtypes) if meta.ndim == 2 else [meta.dtype]
    columns = list(meta.columns) if meta.ndim == 2 else [meta.name]
    bad = [
        f"{column!r} ({dtype})"
        for column, dtype in zip(columns, dtypes, strict=True)
        if getattr(dtype, "kind", "O") not in "buif"
    ]
    if bad:
        raise ValueError(
            f"{name} has columns that are not real numbers: {', '.join(bad[:10])}. Encode or"
            " drop them before fit."
        )
    dtype = np.dtype(np.float32 if all(d == np.float32 for d in dtypes) else np.float64)
    empty = np.empty((0, len(dtypes)) if meta.ndim == 2 else 0, dtype=dtype)
    return frame.map_partitions(_partition_values, dtype, meta=empty)


def _partition_values(partition, dtype):
    return partition.to_numpy(dtype=dtype, na_value=np.nan)


def _one_column_chunk(name, array):
    """Rechunk along the columns only; rows stay where they are."""
    if array.numblocks[1] == 1:
        return array
    if sparse.issparse(array._meta):
        # Dask joins SciPy's matrices along columns, and its arrays not in all versions.
        meta = sparse.csr_matrix((0, 0), dtype=array.dtype)
        array = array.map_blocks(sparse.csr_matrix, dtype=array.dtype, meta=meta)
    return array.rechunk({1: -1})


def _align(name, array, X):
    """Chunk the rows of a target or of weights as those of X, which stay as they are."""
    rows, wanted = array.chunks[0], X.chunks[0]
    unknown = np.isnan(sum(rows)) or np.isnan(sum(wanted))
    if not unknown:
        if sum(rows) != sum(wanted):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples:"
                f" X has {sum(wanted)}, {name} has {sum(rows)}."
            )
        return array if rows == wanted else array.rechunk({0: wanted})
    if len(rows) != len(wanted):
        raise ValueError(
            f"X has {len(wanted)} chunks and {name} {len(rows)}, of unknown size: they cannot be"
            f" matched. Chunk {name} as X, or call compute_chunk_sizes() on both (data frames:"
            " to_dask_array(lengths=True))."
        )
    return array  # the workers compare the lengths of each pair of chunks
