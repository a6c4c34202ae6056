"""Statistics that outlive a fit, for as long as the user says."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .place import Future

if TYPE_CHECKING:
    from distributed import Client


class Held:
    """What one `reuse_statistics` in progress holds in one process."""

    def __init__(self) -> None:
        self.futures: list[Future] = []  # of statistics on a cluster
        # key of rows -> references to them, futures of their statistics
        self.in_memory: dict[tuple, tuple] = {}

    def release(self) -> None:
        for future in self.futures:
            future.release()


_held: dict[str, Held] = {}


@contextmanager
def reuse_statistics(client: Client | None = None) -> Iterator[None]:
    """Keep statistics for further fits of the same rows.

    Inside the context the fits of the same rows read them once. They may differ in all that
    is not about the rows: alpha, l1_ratio, engine, tolerance; but neither in `n_blocks`, nor
    in `polish`, nor, where an estimator cross-validates, in `cv`. When the context ends,
    everything is released.

    Which rows are the same:

    - Dask collections whose keys are the same, in fits of one process on one Client: dask
      names tasks after what they compute. A collection that is made anew of something that
      dask cannot name deterministically has other keys, and is read again. One whose tasks
      return something else each time counts as what was read first. `score` is computed
      from statistics as well, so that scikit-learn's `GridSearchCV` on dask collections
      reads every training and every test set once, whatever the number of candidates.
    - NumPy arrays and SciPy matrices that are the same object, in fits of one process; the
      rows must not be written to inside the context. This is for
      `dask_ml.model_selection.GridSearchCV`, which cuts each training set out once per
      worker process, in memory, and fits it there with every candidate: the statistics of a
      fold are computed once in a process (at most once in each of its threads), and go with
      the fold. Statistics larger than their rows (fewer rows than columns) are not kept.

    Nothing is reused with other losses, with more columns than a Gram matrix should have, by
    workers that join inside the context, and where every fit gets a copy of the rows: in
    scikit-learn's `GridSearchCV` on arrays in memory, and in joblib's processes. Where the
    chunks' sizes are unknown, an estimator that cross-validates reads them in each fit.

    Parameters
    ----------
    client : distributed.Client, default=None
        Whose workers join in, for fits inside of tasks. None is the active one, if any.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask_lasso import AsyncLassoRegressor, reuse_statistics
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(100, 5))
    >>> y = 3 * X[:, 0]
    >>> with reuse_statistics():
    ...     models = [AsyncLassoRegressor(alpha).fit(X, y) for alpha in (0.1, 1.0)]
    """
    if client is None:
        client = _current_client()
    elif not hasattr(client, "run"):
        raise TypeError(
            f"client must be a distributed.Client or None, got {type(client).__name__}."
        )
    name = uuid.uuid4().hex
    _begin(name)
    try:
        if client is not None:
            client.run(_begin, name)
        yield
    finally:
        _end(name)
        if client is not None and client.status == "running":
            client.run(_end, name)


def _current_client():
    import sys

    if "distributed" not in sys.modules:
        return None
    from distributed import Client

    try:
        return Client.current()
    except ValueError:
        return None


def _begin(name):
    _held.setdefault(name, Held())  # a worker may be in the user's process


def _end(name):
    held = _held.pop(name, None)
    if held is not None:
        held.release()


def reusing() -> bool:
    """Whether a `reuse_statistics` is in progress."""
    return bool(_held)


def hold(futures: Sequence[Future]) -> None:
    """Keep the results of `futures` until every `reuse_statistics` in progress has ended."""
    from distributed import Future

    for held in list(_held.values()):
        held.futures += [Future(future.key, client=future.client) for future in futures]


def recall(arrays: Sequence, n_blocks: int) -> list[Future] | None:
    """Futures of the statistics of the very same in-memory `arrays`, if they are held."""
    key = _key(arrays, n_blocks)
    for held in list(_held.values()):
        references, futures = held.in_memory.get(key, ((), None))
        if futures is None or not all(map(_is_there, futures)):
            continue
        if all(ref() is a for ref, a in zip(references, arrays, strict=True)):
            return futures
    return None


def _is_there(future):
    # A fit that ends early cancels what it has not waited for.
    return future.done() and not future.cancelled() and future.exception() is None


def remember(arrays: Sequence, n_blocks: int, futures: Sequence[Future]) -> None:
    """Hold `futures`, of the statistics of in-memory `arrays`, while those arrays live."""
    key = _key(arrays, n_blocks)
    for held in list(_held.values()):
        in_memory = held.in_memory

        def forget(_, in_memory=in_memory):
            in_memory.pop(key, None)

        try:
            references = [_nothing if a is None else weakref.ref(a, forget) for a in arrays]
        except TypeError:  # a list, say, has no weak references
            return
        in_memory[key] = references, futures


def _nothing():
    return None


def _key(arrays, n_blocks):
    return (*map(id, arrays), n_blocks)
