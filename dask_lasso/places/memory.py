"""Rows in this process's memory, and the threads that work on them."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from ..rows.cells import Partition, cells_of_chunk
from ..rows.chunk import Chunk, Defect
from ..rows.raw import raw_rows
from ..rows.sparse_rows import consecutive
from ..rows.statistics import Statistics, merge_statistics, statistics_of_chunk
from .reuse import recall, remember, reusing
from .threads import single_threaded_blas, spare_threads
from .waiting import TimeIsUp

# Below this many values a thread costs more than it saves.
_ONE_THREAD = 2**18


class InMemory:
    """A `Place`: blocks of rows of in-memory arrays; tasks run in threads, or at once.

    Parameters
    ----------
    X : ndarray or SciPy sparse of shape (n, k)
    y : ndarray of shape (n, m)
    sample_weight, offset : ndarray of shape (n,) or None
    n_blocks : int or "auto"
    given : tuple
        The same as the user has them, by which `reuse_statistics` knows them.
    deadline : float
        Of `time.perf_counter`.
    """

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        offset: np.ndarray | None,
        n_blocks: int | str = "auto",
        *,
        given: tuple | None,
        deadline: float = math.inf,
    ) -> None:
        self.deadline = deadline
        self._given = given
        self._X, self._y, self._beside = X, y, (sample_weight, offset)
        self.dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
        self.y_ndim = y.ndim
        self.n_targets = 1 if y.ndim == 1 else y.shape[1]
        n, k = X.shape
        self.n_rows, self.n_features = n, k
        small = n * k <= _ONE_THREAD
        self.n_threads = self.n_spare = 1 if small else spare_threads()
        if isinstance(n_blocks, str):
            n_blocks = 1 if small else 4 * self.n_threads
        count = max(1, min(n_blocks, n))
        self._edges = np.linspace(0, n, count + 1).astype(np.intp)
        # Passes, and of the last one how many tasks there are; a True for each that is done.
        self._n_begun, self._n_parts = 0, 1
        self._done: list[bool] = []
        # Of a single thread too, or nothing could end before it does.
        self._executor = None if small else ThreadPoolExecutor(self.n_threads)

    def __enter__(self) -> InMemory:
        self._limit = ExitStack()
        self._limit.enter_context(single_threaded_blas())
        return self

    def __exit__(self, *exc: object) -> None:
        if self._executor is not None:
            # A thread cannot be stopped; it ends with its task, for which nobody waits.
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._limit.close()

    def load_statistics(
        self, partition: Partition | None = None, few_blocks: bool = False
    ) -> list[Future]:
        n_blocks = len(self._edges) - 1
        # What is kept must not be larger than the rows.
        reuse = (
            reusing()
            and self._given is not None
            and partition is None
            and n_blocks * self.n_features <= self.n_rows
        )
        futures = recall(self._given, n_blocks) if reuse else None
        if futures is None:
            futures = self._pass(self._statistics_of, pairwise(self._edges), partition)
            if reuse:
                remember(self._given, n_blocks, futures)
        return futures

    def _statistics_of(self, start, stop, partition=None):
        if partition is not None:
            labels = partition.between(start, stop)
            return cells_of_chunk(self._chunk(start, stop), labels)
        return statistics_of_chunk(self._chunk(start, stop))

    def _chunk(self, start, stop):
        """Some rows; all have been read when they were checked."""
        rows = slice(start, stop)
        y = self._y[rows].astype(np.float64, copy=False)
        y = y[:, np.newaxis] if y.ndim == 1 else y
        weight, offset = (None if a is None else a[rows] for a in self._beside)
        return Chunk(_consecutive(self._X, rows), y, weight, len(y), offset=offset)

    def load_rows(
        self, ones: bool, summarise: Callable, *args: Any, few_blocks: bool = False
    ) -> tuple[list[Future], list[Future]]:
        rows = self._pass(self._raw_rows, pairwise(self._edges), ones)
        return rows, [self.submit(summarise, block, *args) for block in rows]

    def _raw_rows(self, start, stop, ones):
        return [raw_rows(self._chunk(start, stop), ones=ones)]

    def of_columns(self, columns: np.ndarray) -> InMemory:
        return InMemory(
            self._X[:, columns],
            self._y,
            *self._beside,
            len(self._edges) - 1,
            given=None,
            deadline=self.deadline,
        )

    def reduce(
        self,
        task: Callable,
        merge: Callable,
        *args: Any,
        in_order: bool = False,
        partition: Partition | None = None,
    ) -> Any:
        # Always in order: a part of the rows for each thread.
        if time.perf_counter() >= self.deadline:
            raise TimeIsUp("a pass over the rows has not begun")
        edges = np.linspace(0, len(self._y), self.n_threads + 1).astype(np.intp)
        return merge(
            self._gather(self._pass(self._task_on, pairwise(edges), partition, task, args))
        )

    def _pass(self, task, rows, *args):
        """Futures of a task on each part of the rows, from a first one to before a last."""
        parts = [self.submit(task, start, stop, *args) for start, stop in rows]
        self._n_begun, self._n_parts = self._n_begun + 1, len(parts)
        self._done = done = []
        for part in parts:
            part.add_done_callback(lambda _: done.append(True))
        return parts

    def reading(self) -> tuple[int, float]:
        return self._n_begun, len(self._done) / self._n_parts

    def sample(self, task: Callable, merge: Callable, *args: Any, share: float, enough: int) -> Any:
        return self.reduce(task, merge, *args, share)

    def _gather(self, futures):
        """Results of all `futures`, in time."""
        stream, n_found = self.as_completed(futures), 0
        while n_found < len(futures):
            n_found += len(stream.next(self.deadline, one=False))
        return [future.result() for future in futures]

    def _task_on(self, start, stop, partition, task, args):
        chunk = self._chunk(start, stop)
        with_labels = partition is not None
        return task([(chunk, partition.between(start, stop)) if with_labels else chunk], *args)

    def merged_statistics(self, function: Callable | None = None) -> Statistics:
        if function is None:
            return merge_statistics(self._gather(self.load_statistics()))
        return self.reduce(_merged, merge_statistics, function)

    def locate(self, block: int, defect: Defect) -> str:
        return f"row {self._edges[block] + defect.row}"

    def submit(self, task: Callable, *args: Any) -> Future:
        if self._executor is not None:
            return self._executor.submit(_call, task, args)
        future: Future = Future()
        future.set_result(_call(task, args))
        return future

    def offer(self, calls: dict) -> dict:
        return {}  # threads share their memory: nobody else is better placed

    def prefer(self, winner: Future, loser: Future) -> None:
        pass

    def release(self, future: Future) -> None:
        """A result goes when nobody refers to it."""

    def as_completed(self, futures: Iterable[Future]) -> _Stream:
        return _Stream(futures)


def _merged(chunks, function):
    return merge_statistics(function(chunk) for chunk in chunks)


def _consecutive(X, rows):
    """Consecutive rows, without the copy that SciPy makes of CSR."""
    return consecutive(X, rows) if sparse.issparse(X) else X[rows]


class _Stream:
    """Futures in the order in which they finish; more can be added."""

    def __init__(self, futures):
        self._ready = queue.SimpleQueue()
        for future in futures:
            self.add(future)

    def add(self, future: Future) -> None:
        future.add_done_callback(self._ready.put)

    def next(self, deadline: float, one: bool) -> list[tuple[Future, Any]]:
        left = None if math.isinf(deadline) else max(0.0, deadline - time.perf_counter())
        try:
            ready = [self._ready.get(timeout=left)]
        except queue.Empty:
            raise TimeIsUp("no block of rows has been read") from None
        while not one and not self._ready.empty():
            ready.append(self._ready.get())
        return [(future, future.result()) for future in ready]


def _call(task, args):
    return task(*(arg.result() if isinstance(arg, Future) else arg for arg in args))
