"""Any input, made into rows in a known place: arrays in memory, or chunks of dask collections.

Everything that can be told without reading a chunk is checked here; what only the
values tell (NaN, lengths of chunks of unknown size) the workers find in the one pass.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Number, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_array, validate_data

from ..rows.chunk import check_mask, is_table, library_of, numbers
from ..rows.words import not_numbers, not_real
from .joined import Joined, Part, one_column_chunk
from .place import Place
from .waiting import Waiting

if TYPE_CHECKING:
    from distributed import Client


def is_dask(*objects: Any) -> bool:
    """Whether any of `objects` is a dask collection, or an xarray DataArray of one."""
    return any(hasattr(unwrap(obj), "__dask_graph__") for obj in objects)


def unwrap(values: Any) -> Any:
    """The array that an xarray DataArray holds; anything else as it is."""
    if library_of(values) == "xarray" and hasattr(values, "data"):
        return values.data
    return values


# What is not rows yet, and the call that makes rows of it.
_NO_ROWS = {
    ("polars", "LazyFrame"): "call {0}.collect()",
    ("xarray", "Dataset"): "pass {0}.to_dataarray().T, or one of its variables",
    ("dask", "Delayed"): "call dask.array.from_delayed({0}, shape, dtype), for a data frame"
    " dask.dataframe.from_delayed([{0}])",
    ("dask", "Bag"): "call {0}.to_dataframe()",
}


def check_is_rows(name: str, values: Any) -> None:
    """Raise where the value of an argument is no rows, or none yet."""
    if values is None or isinstance(values, str | bytes):
        cure = "pass an array or a data frame"
        if values is not None:
            cure = f"pass the values, for the name of a column frame[{values!r}]"
        raise TypeError(f"{name} is {values!r}, not an array or a data frame: {cure}.")
    kind = library_of(values), type(values).__name__
    if kind in _NO_ROWS:
        raise TypeError(
            f"{name} is a {kind[1]} of {kind[0]}, not an array or a data frame:"
            f" {_NO_ROWS[kind].format(name)} first."
        )


class Given(NamedTuple):
    """Rows as the user has them, to fit or to score.

    Attributes
    ----------
    X, y, sample_weight, offset : arrays or collections
    of_residual : bool
        Whether the loss is one of the residual, so that the offset can be taken from y.
    is_counted : bool
        Whether chunks of unknown size are to be counted first.
    deadline : float
        Of `time.perf_counter`, where something of them has been waited for already.
    """

    X: Any
    y: Any
    sample_weight: Any = None
    offset: Any = None
    of_residual: bool = False
    is_counted: bool = False
    deadline: float = np.inf

    @property
    def named(self) -> dict[str, Any]:
        """What there is of them but X, by the names of the arguments."""
        beside = {"y": self.y, "sample_weight": self.sample_weight, "offset": self.offset}
        return {name: value for name, value in beside.items() if value is not None}

    def checked(self) -> Given:
        """The same, of rows; raises where there are none yet."""
        for name, values in {"X": self.X, **self.named}.items():
            check_is_rows(name, values)
        if isinstance(self.offset, Number):
            raise ValueError(
                f"offset is {self.offset!r}: pass an array, with a value for each row."
            )
        return self._replace(sample_weight=per_row(self.sample_weight))


@contextmanager
def open_rows(
    estimator: Any,
    given: Given,
    *,
    client: Client | None = None,
    n_blocks: int | str = "auto",
    max_time: float | None = None,
    reset: bool = True,
) -> Iterator[Place]:
    """Check the input of a fit and yield the place where its rows are.

    In the place no wait goes on for longer than `max_time`, counted from now, or than the rows'
    own deadline.

    Yields
    ------
    Place
        Whatever was started for the fit ends with the context.
    """
    given = given.checked()._replace(deadline=min(given.deadline, deadline_of(max_time)))
    if reset:
        estimator._target_names_ = _target_names(given.y)
    if is_dask(given.X):
        from .client import client_for_fit
        from .cluster import OnCluster

        parts = dask_parts(estimator, given, reset=reset)
        with client_for_fit(client, given.X, *given.named.values()) as client:
            waiting = Waiting(client, given.deadline)
            try:
                rows = Joined(parts, waiting, given.of_residual, given.is_counted)
                yield OnCluster(waiting, rows, n_blocks)
            finally:
                waiting.release_all()
    else:
        from .memory import InMemory

        arrays = memory_rows(estimator, fetched(client, given), reset=reset)[:4]
        with InMemory(*arrays, n_blocks, given=given[:4], deadline=given.deadline) as place:
            yield place


def deadline_of(max_time: float | None) -> float:
    """When a time is over that begins now."""
    return np.inf if max_time is None else time.perf_counter() + max_time


def fetched(client: Client | None, given: Given) -> Given:
    """What belongs to an X in memory, in memory too: less travels than if X were sent."""
    lazy = {name: unwrap(values) for name, values in given.named.items() if is_dask(values)}
    if not lazy:
        return given
    from .client import client_for_fit
    from .cluster import fetch

    with client_for_fit(client, *lazy.values()) as client:
        here = fetch(Waiting(client, given.deadline), list(lazy.values()))
    return given._replace(**dict(zip(lazy, here, strict=True)))


def beside(given: Given, *, client: Client | None) -> tuple[Any, Any]:
    """What X in memory is scored with, in memory; all values are checked."""
    if given.y is None:
        raise ValueError(no_target())
    X, y, sample_weight = fetched(client, given.checked())[:3]
    y = memory_array("y", y, ensure_2d=False)
    same_length(X=unwrap(X), y=y)
    return y, weights_beside(X, sample_weight)


def weights_beside(X: Any, sample_weight: Any) -> np.ndarray | None:
    """The argument `sample_weight` beside an X in memory to score, checked."""
    if sample_weight is None:
        return None
    sample_weight = memory_array("sample_weight", sample_weight, ensure_2d=False)
    same_length(X=unwrap(X), sample_weight=sample_weight)
    if sample_weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got shape {sample_weight.shape}."
        )
    if (sample_weight < 0).any():
        raise ValueError("sample_weight has negative values: use weights >= 0.")
    if not sample_weight.any():
        raise ValueError("sample_weight is zero for every row: give some row a positive weight.")
    return sample_weight


def per_row(sample_weight: Any) -> Any:
    """The argument `sample_weight`; None for a number."""
    if not isinstance(sample_weight, Number):
        return sample_weight
    if not (isinstance(sample_weight, Real) and 0 < sample_weight < np.inf):  # type: ignore[operator]
        raise ValueError(
            f"sample_weight is {sample_weight!r}: use a positive number, a weight for each row,"
            " or None."
        )
    return None  # as scikit-learn's Lasso: the same weight for all is none


def memory_rows(estimator: Any, given: Given, *, reset: bool = True) -> Given:
    """In-memory input as arrays; finiteness is left to the pass over the rows."""
    X, y, sample_weight, offset, of_residual, *_ = given
    if y is None:
        raise ValueError(no_target())
    as_they_are = []
    if isinstance(X, np.ndarray) and X.dtype.kind in "biuf" and X.dtype.itemsize < 8:
        as_they_are = [X.dtype]  # widened a tile at a time
    checks = dict(accept_sparse="csr", ensure_all_finite=False)
    X = memory_features(estimator, X, as_they_are, reset=reset, **checks)
    y = memory_array(
        "y", y, accept_sparse="csr", ensure_2d=False, ensure_all_finite=False, estimator=estimator
    )
    same_length(X=X, y=y)
    if sparse.issparse(y):
        y = y.toarray()
    if y.dtype not in (np.float64, np.float32):
        y = y.astype(np.float64)
    if sample_weight is not None:
        sample_weight = memory_array(
            "sample_weight", sample_weight, ensure_2d=False, ensure_all_finite=False
        )
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if offset is not None:
        offset = memory_offset(X, offset)
        if of_residual:
            y, offset = y - (offset if y.ndim == 1 else offset[:, np.newaxis]), None
    return Given(X, y, sample_weight, offset)


def memory_offset(X: Any, offset: Any) -> np.ndarray:
    """The argument `offset` for an X in memory, checked."""
    offset = memory_array("offset", offset, ensure_2d=False, ensure_min_samples=0)
    if offset.ndim == 2 and offset.shape[1] == 1:
        offset = offset[:, 0]
    if offset.ndim != 1:
        raise ValueError(f"offset must be a 1D array, got shape {offset.shape}.")
    same_length(X=unwrap(X), offset=offset)
    return offset.astype(np.float64, copy=False)


def memory_features(
    estimator: Any, X: Any, dtypes: Sequence = (), *, reset: bool, **checks: Any
) -> Any:
    """An X in memory as an array; its names and width are remembered (`reset`) or compared.

    It is of float64, unless it is of float32 or of one of the `dtypes`.
    """
    dtypes = [np.float64, np.float32, *dtypes]
    values = memory_array("X", X, dtype=dtypes, estimator=estimator, **checks)
    names = X if hasattr(X, "shape") else values
    validate_data(estimator, names, reset=reset, skip_check_array=True)
    return values


def same_length(**arrays: Any) -> None:
    """Raise unless all have as many rows as the first."""
    (first, n_rows), *others = ((name, _num_samples(array)) for name, array in arrays.items())
    for name, n in others:
        if n != n_rows:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples:"
                f" {first} has {n_rows}, {name} has {n}."
            )


def memory_array(name: str, values: Any, **checks: Any) -> Any:
    """scikit-learn's `check_array`, which does not name the argument in all its messages."""
    values = memory_numbers(name, values)
    try:
        return check_array(values, input_name=name, **checks)
    except (TypeError, ValueError) as error:
        if re.search(rf"\b{name}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def memory_numbers(name: str, values: Any) -> Any:
    """What scikit-learn cannot read, or reads otherwise than a chunk is read, as an array."""
    check_is_rows(name, values)
    values = unwrap(values)
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "O") not in "buifOSU":
        _check_real(name, dtype)
    if isinstance(values, np.ndarray) and values.dtype.isnative:
        check_mask(name, values)
    elif isinstance(values, np.ndarray) or sparse.issparse(values) or is_table(values):
        values = numbers(name, values)
    return values


def no_target() -> str:
    """What is to be said where y is None."""
    return "requires y to be passed, but the target y is None: pass it beside X."


def dask_parts(estimator: Any, given: Given, *, reset: bool = True) -> list[Part]:
    """Dask input as parts that `Joined` can join, X and y first; nothing is computed."""
    if given.y is None:
        raise ValueError(no_target())
    parts = [dask_features(estimator, given.X, reset=reset), part_of("y", given.y)]
    if parts[1].ndim not in (1, 2):
        raise ValueError(f"y should be a 1d or 2d array, got an array of shape {parts[1].shape}.")
    if parts[1].shape[1:] == (0,):
        raise ValueError(f"y has 0 columns (shape={parts[1].shape}): pass at least one target.")
    if given.sample_weight is not None:
        parts.append(part_of("sample_weight", given.sample_weight))
        if parts[2].ndim != 1:
            raise ValueError(
                f"Sample weights must be 1D array or scalar, got shape {parts[2].shape}."
            )
    if given.offset is not None:
        parts.append(dask_offset(given.offset))
    return parts


def dask_offset(offset: Any) -> Part:
    """The argument `offset` beside an X that is a dask collection."""
    part = part_of("offset", offset)
    if part.ndim != 1:
        raise ValueError(f"offset must be a 1D array, got shape {part.shape}.")
    return part


def _target_names(y):
    """Names of the targets, of a frame or a series; else None."""
    y = getattr(y, "_meta", y)  # a dask series may have columns
    if hasattr(y, "columns"):
        return list(y.columns)
    name = getattr(y, "name", None) if hasattr(y, "index") or hasattr(y, "to_list") else None
    return None if name is None else [name]


def dask_features(estimator: Any, X: Any, *, reset: bool) -> Part:
    """Feature matrix of a fit (`reset`) or a prediction, checked."""
    names = getattr(X, "_meta", X) if hasattr(X, "columns") else None
    part = part_of("X", X)
    if part.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {part.ndim}D array instead: X has shape {part.shape}. Reshape"
            " your data with X[:, None] if it has a single feature or X[None, :] if it is a"
            " single sample."
        )
    if np.isnan(part.shape[1]):
        raise ValueError(
            "X has an unknown number of columns: call X.compute_chunk_sizes() before fit."
        )
    if part.shape[1] == 0:
        raise ValueError(
            f"X: Found array with 0 feature(s) (shape={part.shape}) while a minimum of 1 is"
            " required."
        )
    # Only names and number of features are looked at, so an array without rows will do.
    stand_in = np.empty((0, part.shape[1])) if names is None else names
    validate_data(estimator, stand_in, reset=reset, skip_check_array=True)
    return part


def part_of(name: str, values: Any) -> Part:
    """One argument, checked to be of numbers."""
    import dask.array as da

    check_is_rows(name, values)
    values = unwrap(values)
    if is_dask(values) and not isinstance(values, da.Array):
        return _part_of_frame(name, values)
    if not is_dask(values):
        values = memory_array(
            name, values, accept_sparse="csr", dtype=None, ensure_2d=False, ensure_all_finite=False
        )
    _check_real(name, values.dtype)
    in_columns = None
    if is_dask(values) and values.ndim == 2 and values.numblocks[1] > 1:
        in_columns, values = values, one_column_chunk(values)
    return Part(name, values, values.shape, values.dtype, in_columns=in_columns)


def _check_real(name, dtype):
    if dtype.kind not in "buif":
        raise ValueError(f"{name} has dtype {dtype}, {not_real(name, dtype)}.")


def _part_of_frame(name, frame):
    """A dask DataFrame or Series, whose partitions will be arrays of one dtype."""
    meta = getattr(frame, "_meta", None)
    if not hasattr(meta, "dtypes"):
        raise TypeError(f"{name} must be an array or a data frame, got {type(frame).__name__}.")
    dtypes = list(meta.dtypes) if meta.ndim == 2 else [meta.dtype]
    columns = list(meta.columns) if meta.ndim == 2 else [meta.name]
    bad = [pair for pair in zip(columns, dtypes, strict=True) if not _is_real(pair[1])]
    if bad:
        raise ValueError(f"{name} {not_numbers(name, bad, 'dask')}.")
    dtype = np.dtype(np.float32 if all(d == np.float32 for d in dtypes) else np.float64)
    shape, names = ((np.nan, len(dtypes)), tuple(columns)) if meta.ndim == 2 else ((np.nan,), None)
    return Part(name, frame, shape, dtype, is_frame=True, columns=names)


def _is_real(dtype):
    """Whether a column of this dtype is numbers; decimals of Arrow are, and of no kind."""
    from pandas.api.types import is_numeric_dtype

    kind = getattr(dtype, "kind", "O")
    return kind in "buif" or (kind == "O" and is_numeric_dtype(dtype))
