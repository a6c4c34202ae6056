"""How many threads a fit in this process may use, and BLAS below them kept to one.

Threads belong above BLAS: a task is single-threaded, and tasks run side by side. Workers
in processes of their own are limited by dask; here it is this process's own threads.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    # Finding the loaded libraries takes milliseconds.
    return ThreadpoolController()


@contextmanager
def single_threaded_blas():
    """Run the body with one BLAS thread in the whole process.

    For the thread that fits, not for its tasks: only one thread at a time may set the
    limit of OpenBLAS, and only that one can lift it.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


def spare_threads() -> int:
    """Threads that a fit may use without oversubscribing the machine.

    What joblib grants here (one inside its own workers), and no more than BLAS may use:
    dask and loky limit BLAS in their workers for the same reason.
    """
    if _on_dask_worker():
        return 1
    blas = [
        library.num_threads
        for library in _controller().lib_controllers
        if library.user_api == "blas"
    ]
    return max(1, min([effective_n_jobs(-1), *blas]))


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
