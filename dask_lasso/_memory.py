"""Rows in this process's memory, and the threads that work on them."""

from __future__ import annotations

import queue
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from . import _statistics
from ._threads import single_threaded_blas, spare_threads

# Below this many values a thread costs more than it saves.
_ONE_THREAD = 2**18


class InMemory:
    """Blocks of rows of in-memory arrays; tasks run in threads, or at once.

    Parameters
    ----------
    X : ndarray or SciPy sparse of shape (n, k)
    y : ndarray of shape (n, m)
    sample_weight : ndarray of shape (n,) or None
    n_blocks : int or "auto"
    """

    def __init__(self, X, y, sample_weight, n_blocks="auto"):
        self._X, self._y, self._sample_weight = X, y, sample_weight
        self.dtype, self.y_ndim = X.dtype, y.ndim
        n, k = X.shape
        small = n * k <= _ONE_THREAD
        self.n_threads = 1 if small else spare_threads()
        if n_blocks == "auto":
            n_blocks = 1 if small else 4 * self.n_threads
        n_blocks = max(1, min(n_blocks, n))
        self._edges = np.linspace(0, n, n_blocks + 1).astype(np.intp)
        self._executor = ThreadPoolExecutor(self.n_threads) if self.n_threads > 1 else None

    def __enter__(self):
        self._limit = single_threaded_blas()
        self._limit.__enter__()
        return self

    def __exit__(self, *exc):
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._limit.__exit__(*exc)

    def load_statistics(self) -> list[Future]:
        """One future of `Statistics` per block."""
        return [
            self.submit(self._statistics_of, start, stop) for start, stop in pairwise(self._edges)
        ]

    def _statistics_of(self, start, stop):
        weight = None if self._sample_weight is None else self._sample_weight[start:stop]
        return _statistics.from_rows(self._X[start:stop], self._y[start:stop], weight)

    def locate(self, block, defect) -> str:
        """Where a defect is, in the user's terms."""
        return f"row {self._edges[block] + defect.row}"

    def submit(self, task, *args) -> Future:
        """Run ``task(*args)``, with futures among the arguments replaced by their results."""
        if self._executor is not None:
            return self._executor.submit(_call, task, args)
        future = Future()
        future.set_result(_call(task, args))
        return future

    def release(self, future):
        """Nothing to do: a result goes when nobody refers to it."""

    def as_completed(self, futures) -> _Stream:
        return _Stream(futures)


class _Stream:
    """Futures in the order in which they finish; more can be added."""

    def __init__(self, futures):
        self._ready = queue.SimpleQueue()
        for future in futures:
            self.add(future)

    def add(self, future):
        future.add_done_callback(self._ready.put)

    def next(self, deadline, one):
        timeout = None if deadline is None else max(0.0, deadline - time.perf_counter())
        try:
            ready = [self._ready.get(timeout=timeout)]
        except queue.Empty:
            raise TimeoutError from None
        while not one and not self._ready.empty():
            ready.append(self._ready.get())
        return [(future, future.result()) for future in ready]


def _call(task, args):
    return task(*(arg.result() if isinstance(arg, Future) else arg for arg in args))
