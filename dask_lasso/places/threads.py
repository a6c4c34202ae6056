"""How many threads a fit in this process may use, and BLAS below them kept to one.

Threads belong above BLAS: a task is single-threaded, and tasks run side by side. Workers
in processes of their own are limited by dask; here it is this process's own threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    # Finding the loaded libraries takes milliseconds.
    return ThreadpoolController()


class _Limit:
    """One BLAS thread in the whole process, for as long as anybody needs that.

    OpenBLAS takes the number of threads from the first thread that sets it, and from no other
    then. Which that is nobody can tell: the main thread tries first, for it costs least, else
    a thread that does nothing else, else the one that fits.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._keeper = None
        self.n_users, self.n_before = 0, 1
        self._limiter = None
        self._owner, self._n_of_owner = None, 0  # the thread that has set it, if that fits

    def __enter__(self):
        with self._lock:
            if self._limiter is None:
                self._set()
            self.n_users += 1
            self._n_of_owner += self._owner is threading.current_thread()

    def __exit__(self, *exc):
        with self._lock:
            self.n_users -= 1
            if self._limiter is None:
                return
            if self._owner is threading.current_thread():
                self._n_of_owner -= 1
                # Nobody else can, so it cannot wait for others to end.
                if self._n_of_owner == 0:
                    self._limiter.restore_original_limits()
                    self._limiter = None
            elif self._owner is None and self.n_users == 0:
                self._keeper.submit(self._limiter.restore_original_limits).result()
                self._limiter = None

    def _set(self):
        self._owner, self._n_of_owner = threading.current_thread(), 0
        self.n_before = min(_blas_threads(), default=1)
        if self._keeper is None and self._owner is threading.main_thread():
            self._limiter = _one_thread()
            if _is_limited():
                return
        if self._keeper is None:
            self._keeper = ThreadPoolExecutor(1, thread_name_prefix="dask-lasso-blas")
        self._limiter = self._keeper.submit(_one_thread).result()
        if _is_limited():
            self._owner = None
        else:
            self._limiter = _one_thread()


def _one_thread():
    return _controller().limit(limits=1, user_api="blas")


def _is_limited():
    return all(n == 1 for n in _blas_threads())


def _blas_threads() -> list[int]:
    libraries = _controller().lib_controllers
    return [library.num_threads for library in libraries if library.user_api == "blas"]


_limit = _Limit()


def _forget_other_threads():
    """The fits of a parent process' threads do not go on in its forked child."""
    global _limit
    if _limit._limiter is not None:
        _limit._limiter.restore_original_limits()
    _limit = _Limit()


os.register_at_fork(after_in_child=_forget_other_threads)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run the body with one BLAS thread in the whole process.

    For the threads that fit, not for their tasks. Fits at the same time share the limit, and
    the last to end lifts it: each for itself would restore what it found, another's limit.
    """
    with _limit:
        yield


def side_by_side(function: Callable, items: Sequence, n_threads: int) -> None:
    """Call ``function(item)`` of each item, so many at once; in `single_threaded_blas`."""
    if min(n_threads, len(items)) < 2:
        for item in items:
            function(item)
        return
    executor = ThreadPoolExecutor(n_threads)
    try:
        list(executor.map(function, items))
    finally:
        # A thread cannot be stopped; it ends with its item, for which nobody waits.
        executor.shutdown(wait=False, cancel_futures=True)


def spare_threads(is_limited: bool = False) -> int:
    """Threads that a fit may use without oversubscribing the machine.

    With `is_limited` the fit is in `single_threaded_blas` already, for which it has none less.

    What joblib grants here (one inside its own workers), and no more than BLAS may use:
    dask and loky limit BLAS in their workers for the same reason.
    """
    if _on_dask_worker():
        return 1
    own = is_limited and _limit.n_users == 1
    return max(1, min([effective_n_jobs(-1), *([_limit.n_before] if own else _blas_threads())]))


def _on_dask_worker() -> bool:
    # A task has one thread of its worker. Without distributed there is no such task.
    import sys

    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
