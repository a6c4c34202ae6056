"""Statistics that outlive a fit, for as long as the user says."""

from __future__ import annotations

from contextlib import contextmanager

# What each `reuse_statistics` in progress holds: futures.
_holders: list[list] = []


@contextmanager
def reuse_statistics():
    """Keep statistics on the cluster for further fits of the same rows.

    Inside the context, the fits in this process of the same dask collections on the same
    Client read the rows once. They may differ in all that is not about the rows: alpha,
    l1_ratio, engine, tolerance; but neither in `n_blocks` nor in `polish`. `score` is
    computed from statistics as well, so that scikit-learn's `GridSearchCV` on dask
    collections reads every training and every test set once, whatever the number of
    candidates. When the context ends, everything is released.

    Rows are the same where the collections' keys are: dask names tasks after what they
    compute. A collection that is made anew of something that dask cannot name
    deterministically has other keys, and is read again. One whose tasks return something
    else each time counts as what was read first.

    Fits in other processes reuse nothing: those of a joblib backend with processes, and
    those of `dask_ml.model_selection.GridSearchCV`, whose tasks get their rows in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLassoRegressor, reuse_statistics
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> y = 3 * X[:, 0]
    >>> with reuse_statistics():
    ...     models = [AsyncLassoRegressor(alpha).fit(X, y) for alpha in (0.1, 1.0)]
    """
    held = []
    _holders.append(held)
    try:
        yield
    finally:
        _holders.remove(held)
        for future in held:
            future.release()


def reusing() -> bool:
    """Whether a `reuse_statistics` is in progress."""
    return bool(_holders)


def hold(futures) -> None:
    """Keep the results of `futures` until every `reuse_statistics` in progress has ended."""
    from distributed import Future

    for held in _holders:
        held += [Future(future.key, client=future.client) for future in futures]
