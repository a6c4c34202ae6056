"""The one reader of a chunk: what came in, as the arithmetic takes it, or what is wrong with it.

Every route reads its rows here (few columns, many, raw rows, folds, predictions, scores),
in memory and on workers, so that all of them accept the same and refuse the same. Nothing
that is an array of numbers already is copied.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .words import listed, not_numbers, not_real


class Defect(NamedTuple):
    """The first thing wrong in some rows, as data: a worker reports, the client raises."""

    argument: str  # "X", "y" or "sample_weight"
    problem: str  # the sentence after "Input X "
    row: int  # position among the rows the statistics are of
    chunk: int  # position among the chunks the statistics are of


class Unreadable(ValueError):
    """A `Defect` as an error, for rows that are read at once; `row` None is no row by itself."""

    def __init__(self, argument: str, problem: str, row: int | None = None) -> None:
        super().__init__(argument, problem, row)

    def __str__(self):
        argument, problem, row = self.args
        return f"Input {argument} {problem}" + ("." if row is None else f", row {row}.")

    @property
    def defect(self) -> Defect:
        argument, problem, row = self.args
        return Defect(argument, problem, row or 0, 0)


class Declared(NamedTuple):
    """What collections say of all their chunks.

    Attributes
    ----------
    n_features : int or None
        None where nothing is declared: a chunk counts as it is.
    n_targets : int or None
        None for a y of one dimension.
    features, targets : tuple or None
        Names of the columns of frames, by which those of each partition are taken.
    """

    n_features: int | None = None
    n_targets: int | None = None
    features: tuple | None = None
    targets: tuple | None = None


_NOTHING = Declared()


class Chunk(NamedTuple):
    """Rows as the arithmetic takes them; use nothing of one that has a defect but `n_rows`.

    Attributes
    ----------
    X : ndarray, csr_array, csc_array or array-API array of shape (n, k)
        Dense: real, in the machine's byte order, of at most 8 bytes a value, in any strides.
        Sparse: float32 or float64, indices sorted and without repetition. Arrays of other
        libraries stay on their device.
    y : ndarray of shape (n, m)
        Float64.
    sample_weight : ndarray of shape (n,) or None
        Float64.
    n_rows : int
    defect : Defect or None
    offset : ndarray of shape (n,) or None
        Float64, finite: what is added to the linear predictor.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None
    n_rows: int
    defect: Defect | None = None
    offset: np.ndarray | None = None

    def arrays(self) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """X, y and sample_weight; raises `Unreadable` where there is a defect."""
        if self.defect is not None:
            raise Unreadable(self.defect.argument, self.defect.problem, self.defect.row)
        return self.X, self.y, self.sample_weight

    def rows(self, index: slice | np.ndarray) -> Chunk:
        """Some of the rows of a dense or CSR chunk without a defect."""
        of_rows = (None if a is None else a[index] for a in (self.sample_weight, self.offset))
        weight, offset = of_rows
        y = self.y[index]
        return Chunk(self.X[index, :], y, weight, len(y), offset=offset)

    def less_offset(self) -> Chunk:
        """The same rows for a loss of the residual: the offset is taken from y."""
        if self.offset is None:
            return self
        return self._replace(y=self.y - self.offset[:, np.newaxis], offset=None)


def read(
    X: Any, y: Any, sample_weight: Any = None, declared: Declared = _NOTHING, offset: Any = None
) -> Chunk:
    """The rows of one chunk, in whatever collection they came.

    Parameters
    ----------
    X, y, sample_weight, offset
        Arrays of NumPy (masked ones too), SciPy sparse, pydata/sparse, xarray or an array-API
        library; frames and series of pandas, polars or Arrow.
    declared : Declared

    Returns
    -------
    Chunk
        With a `Defect` instead of an error where the rows cannot be used, so that a
        scheduler does not run a hopeless task again.
    """
    try:
        X = read_features(X, declared)
        y = _targets(y, declared)
        if sample_weight is not None:
            sample_weight = _per_row("sample_weight", sample_weight)
        _check_lengths(X, y=y, sample_weight=sample_weight)
        if offset is not None:
            offset = read_offset(offset, X.shape[0])
    except Unreadable as error:
        return Chunk(None, None, None, _length(X), error.defect)
    return Chunk(X, y, sample_weight, X.shape[0], offset=offset)


def read_features(X: Any, declared: Declared = _NOTHING) -> Any:
    """The X of a `Chunk`; raises `Unreadable`."""
    X = numbers("X", X, declared.features)
    if X.ndim != 2:
        raise Unreadable("X", f"has {X.ndim} dimensions where 2 were declared")
    if declared.n_features not in (None, X.shape[1]):
        raise _width("X", X.shape[1], declared.n_features)
    return X


def _targets(y, declared):
    y = _dense("y", y, declared.targets)
    if y.ndim == 1:
        y = y[:, np.newaxis]
    if y.ndim != 2:
        raise Unreadable("y", f"has {y.ndim} dimensions")
    if declared.n_features is not None and y.shape[1] != (declared.n_targets or 1):
        raise _width("y", y.shape[1], declared.n_targets or 1)
    return y.astype(np.float64, copy=False)


def _per_row(argument, values):
    values = _dense(argument, values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise _width(argument, values.shape[-1], 1)
    return values.astype(np.float64, copy=False)


def read_offset(offset: Any, n_rows: int) -> np.ndarray:
    """The offset of a `Chunk` of so many rows; raises `Unreadable`, for what is not finite too."""
    offset = _per_row("offset", offset)
    _check_lengths(np.empty((n_rows, 0)), offset=offset)
    bad = ~np.isfinite(offset)
    if bad.any():
        raise Unreadable("offset", "contains NaN or infinity", int(np.argmax(bad)))
    return offset


def _dense(argument, values, names=None):
    values = to_host(numbers(argument, values, names))
    return values.toarray() if sparse.issparse(values) else values


def _width(argument, found, declared):
    columns = "column" if found == 1 else "columns"
    were = "was" if declared == 1 else "were"
    problem = f"has {found} {columns} where {declared} {were} declared"
    return Unreadable(argument, problem)


def _check_lengths(X, **others):
    n = X.shape[0]
    for name, other in others.items():
        if other is not None and other.shape[0] != n:
            problem = f"has {other.shape[0]} rows where X has {n}"
            raise Unreadable(name, problem, min(n, other.shape[0]))


def _length(X):
    shape = np.shape(X) if getattr(X, "shape", None) is None else X.shape
    return int(shape[0]) if shape else 0


def is_table(values: Any) -> bool:
    """Whether `values` are a frame or series, or an array of the library sparse."""
    return library_of(values) in ("pandas", "polars", "pyarrow", "sparse")


def library_of(values: Any) -> str:
    """The package that the class of `values` is from."""
    return type(values).__module__.split(".")[0]


def numbers(argument: str, values: Any, names: Sequence | None = None) -> Any:
    """Numbers of one argument, without a copy where they are; raises `Unreadable`.

    Parameters
    ----------
    argument : str
        How messages name it.
    names : sequence, optional
        The columns to take of a frame, in this order.

    Returns
    -------
    ndarray, csr_array, csc_array or array-API array
        Of the dtypes that a `Chunk`'s X has.
    """
    library = library_of(values)
    if library == "xarray":
        values = values.values
    if library == "pandas" and hasattr(values, "dtypes"):
        values = _of_pandas(argument, values, names)
    elif library in ("polars", "pyarrow"):
        values = _of_table(argument, values, names)
    elif library == "sparse":
        values = _of_pydata(values)
    if sparse.issparse(values):
        return _canonical(argument, values)
    if namespace(values) is not None:
        return values
    return _real(argument, values)


def _real(argument, values):
    """An ndarray of real numbers."""
    check_mask(argument, values)
    array = np.asarray(values)
    dtype = array.dtype
    if dtype.kind in "biuf" and dtype.isnative and dtype.itemsize <= 8:
        return array
    _check_kind(argument, dtype)
    wanted = np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64
    try:
        return array.astype(wanted)
    except (TypeError, ValueError) as error:
        raise Unreadable(argument, f"is not numbers: {error}") from error


def _check_kind(argument, dtype):
    if dtype.kind not in "biufOSU":
        raise Unreadable(argument, f"has dtype {dtype}, {not_real(argument, dtype)}")


def check_mask(argument: str, values: Any) -> None:
    """What lies under a mask is no number of the user's."""
    mask = np.ma.getmask(values)
    if mask is np.ma.nomask or not mask.any():
        return
    rows = mask.reshape(len(mask), -1)
    bad = np.flatnonzero(rows.any(axis=1))
    where = "" if mask.ndim == 1 else f" in column {np.argmax(rows[bad[0]])}"
    problem = (
        f"contains masked values{where} ({len(bad)} {'row' if len(bad) == 1 else 'rows'}): fill"
        " them or drop these rows"
    )
    raise Unreadable(argument, problem, int(bad[0]))


def _of_pandas(argument, values, names):
    if values.ndim == 1:
        dtypes = [values.dtype]
    else:
        if names is not None:
            values = _by_name(argument, values, list(values.columns), names)
        dtypes = list(values.dtypes)
    is_sparse = [hasattr(dtype, "fill_value") and dtype.fill_value == 0 for dtype in dtypes]
    wanted = np.float32 if all(dtype == np.float32 for dtype in dtypes) else np.float64
    for dtype in dtypes:
        if dtype.kind not in "mM":
            _check_kind(argument, dtype)
    try:
        if values.ndim == 2 and 2 * sum(is_sparse) > len(dtypes):
            return _of_sparse_columns(values, is_sparse)
        if any(dtype.kind in "mM" for dtype in dtypes):
            raise TypeError("dates are no numbers")
        return values.to_numpy(dtype=wanted, na_value=np.nan)
    except (TypeError, ValueError) as error:
        columns = values.to_frame() if values.ndim == 1 else values
        bad = [
            (name, columns.iloc[:, position].dtype)
            for position, name in enumerate(columns.columns)
            if not _is_numbers(columns.iloc[:, position])
        ]
        raise Unreadable(argument, not_numbers(argument, bad, of="pandas")) from error


def _is_numbers(series):
    try:
        series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return False
    return series.dtype.kind not in "mM"


def _of_sparse_columns(frame, is_sparse):
    """CSR of a frame of which most columns are sparse."""
    parts = []
    for column, sparsely in enumerate(is_sparse):
        values = frame.iloc[:, column].array
        if sparsely:
            data, rows = values.sp_values, values.sp_index.to_int_index().indices
        else:
            data = np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
            rows = np.flatnonzero(data)
            data = data[rows]
        parts.append((data, rows))
    data, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
    indptr = np.cumsum([0, *(len(part[1]) for part in parts)])
    return sparse.csc_array((data, rows, indptr), shape=frame.shape).tocsr()


def _of_table(argument, values, names):
    """An array of a frame or a series of polars or Arrow, column by column."""
    found = getattr(values, "column_names", getattr(values, "columns", None))
    if found is None:
        return _of_column(values)
    if names is not None:
        values = _by_name(argument, values, list(found), names)
        found = names
    columns, bad, cause = [], [], None
    for name in found:
        column = _of_column(values[name])
        try:
            columns.append(_real(argument, column))
        except Unreadable as error:
            bad.append((name, column.dtype))
            cause = error
    if bad:
        raise Unreadable(argument, not_numbers(argument, bad, of=library_of(values))) from cause
    single = columns and all(column.dtype == np.float32 for column in columns)
    out = np.empty((len(values), len(columns)), np.float32 if single else np.float64, order="F")
    for position, column in enumerate(columns):
        out[:, position] = column
    return out


def _of_column(column):
    # An array of Arrow copies only on request, unlike one in chunks.
    ask = library_of(column) == "pyarrow" and not hasattr(column, "combine_chunks")
    return column.to_numpy(**({"zero_copy_only": False} if ask else {}))


def _by_name(argument, frame, found, names):
    """The columns of a partition in the order in which the collection declares them."""
    names = list(names)
    if found == names:
        return frame
    if len(found) != len(names) or set(found) != set(names) or len(set(names)) < len(names):
        other = [name for name in found if name not in names] or found
        lacking = [name for name in names if name not in found]
        lacks = f" and not {listed(lacking)}" if lacking else ""
        problem = (
            f"has columns that were not declared: {listed(other)}{lacks}"
            if len(found) == len(names)
            else f"has {len(found)} columns where {len(names)} were declared: {listed(other)}"
            f"{lacks}"
        )
        raise Unreadable(argument, problem)
    return frame[names]


def _of_pydata(values):
    """SciPy's matrix of an array of the library "sparse"; dense where SciPy has none."""
    if not hasattr(values, "to_scipy_sparse"):  # DOK
        values = values.to_coo()
    if values.ndim != 2 or values.fill_value != 0:
        return values.todense()
    return values.to_scipy_sparse()


def _canonical(argument, X):
    """CSR or CSC of float, with sorted indices and none twice; the user's is not touched."""
    _check_kind(argument, X.dtype)
    as_float = X.dtype in (np.float32, np.float64) and X.dtype.isnative
    if not as_float and X.dtype != bool:  # duplicates may overflow
        X, as_float = X.astype(np.float64), True
    if X.format not in ("csr", "csc"):
        X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    if not as_float:
        X = X.astype(np.float64)
    kind = sparse.csr_array if X.format == "csr" else sparse.csc_array
    if not isinstance(X, kind):
        X = kind((X.data, X.indices, X.indptr), shape=X.shape)
        X.has_canonical_format = True
    return X


def namespace(X: Any) -> Any:
    """The array-API namespace of an array that is neither NumPy's nor sparse; else None."""
    if isinstance(X, np.ndarray) or sparse.issparse(X):
        return None
    library = library_of(X)
    if library in ("cupy", "torch"):  # close enough to the standard for what is done here
        return sys.modules[library]
    if hasattr(X, "__array_namespace__") and library not in ("sparse", "xarray"):
        return X.__array_namespace__()
    return None


def to_host(array: Any) -> Any:
    """An array, wherever it is, in NumPy's memory; SciPy's stay as they are."""
    if sparse.issparse(array):
        return array
    if namespace(array) is not None:
        if hasattr(array, "get"):  # CuPy
            array = array.get()
        elif hasattr(array, "cpu"):  # PyTorch
            array = array.cpu()
    return np.asarray(array)


def to_device(array: Any, like: Any) -> Any:
    """A NumPy array where `like`, of another library, is."""
    xp = namespace(like)
    where = {} if xp.__name__ == "cupy" else {"device": like.device}  # CuPy has a current device
    return xp.asarray(array, **where)
