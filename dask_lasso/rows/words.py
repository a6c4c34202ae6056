"""What is said of values that are no numbers: which columns, and what to do with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Columns that a message names.
_NAMED = 5


def listed(names: Sequence) -> str:
    """The first few of some names."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more


def not_numbers(argument: str, columns: Sequence[tuple[Any, Any]], of: str) -> str:
    """What is wrong with columns of a frame, pairs of a name and a dtype, and what to do.

    The frame is of dask, pandas, polars or pyarrow, each of which needs its own words.
    """
    dates = [name for name, dtype in columns if getattr(dtype, "kind", "O") in "mM"]
    rest = [name for name, _ in columns if name not in dates]
    said = f"has columns that are not real numbers: {listed([name for name, _ in columns])}"
    said += f" ({', '.join(str(dtype) for _, dtype in columns[:_NAMED])})"
    if argument != "X":
        return f"{said}. Convert them first; of labels there is AsyncLogisticRegression"
    if of == "pyarrow":
        said += ". First call X = X.to_pandas()"
    if dates:
        column = f"X[{dates[0]!r}]"
        in_seconds = ".dt.total_seconds()" if of == "polars" else " / np.timedelta64(1, 's')"
        time = f"({column} - {column}.min()){in_seconds}"
        said += f". Of dates, pass the time since one of them: {time}"
    if not rest:
        return said
    steps = (
        "from dask_ml.preprocessing import Categorizer, DummyEncoder",
        f"encoder = make_pipeline(Categorizer(columns={rest}), DummyEncoder())",
    )
    if of != "dask":
        steps = (
            "from sklearn.preprocessing import OneHotEncoder",
            f"encoder = make_column_transformer((OneHotEncoder(), {rest}),"
            ' remainder="passthrough")',
        )
    last = "X = encoder.fit_transform(X)  # and encoder.transform(X) of rows to predict"
    said += ". Drop ids, and encode text and categories"
    if of == "polars":  # whose frames lack what the ColumnTransformer asked for
        said += " (with scikit-learn before 1.9 of X = X.to_pandas())"
    return f"{said}:\n    " + "\n    ".join((*steps, last))


def not_real(argument: str, dtype: np.dtype) -> str:
    """Why values of a dtype cannot be read, and what to do."""
    seconds = 'np.timedelta64(1, "s")'
    cure = {
        "c": f"Complex data not supported: pass {argument}.real and {argument}.imag",
        "m": f"Pass {argument} / {seconds}",
        "M": f"Pass the time since some date, as ({argument} - {argument}.min()) / {seconds}",
    }.get(dtype.kind, f"Convert {argument} first, for example with {argument}.astype(float)")
    return f"which is not a real number. {cure}"
