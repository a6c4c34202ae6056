"""The Client of a fit: the one given, that of its rows, the active one, or one made for it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .._version import __version__
from .threads import single_threaded_blas
from .waiting import TimeIsUp, Waiting, in_our_words

if TYPE_CHECKING:
    from distributed import Client

# At most so many workers are asked before a fit whether they have this package; seconds
# that all together may take to answer.
_MOST_ASKED = 100
_PATIENCE = 3.0
_HAS_PACKAGE = "__import__('importlib.util').util.find_spec('dask_lasso') is not None"

_asked: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # Client -> addresses


@contextmanager
def client_for_fit(client: Client | None, *rows: Any) -> Iterator[Client]:
    """The Client to fit on: `client`, that of the rows, the active one, or one made for it."""
    import distributed

    with ExitStack() as stack:
        _check_not_forked()
        active = _client_here(stack)  # inside a task even for a Client that was given
        if client is None:
            client = client_of(*rows) or active
        if client is None:
            check_here(*rows)
            client = stack.enter_context(_shared_client())
        if not isinstance(client, distributed.Client):
            raise TypeError(
                f"client must be a distributed.Client or None, got {type(client).__name__}."
            )
        if client.asynchronous:
            raise ValueError(
                "client is asynchronous, and fit is not: pass a Client that was made with"
                " asynchronous=False, or await asyncio.to_thread(model.fit, X, y) with such a"
                " Client."
            )
        if client.status != "running":
            raise ValueError(
                f"client is {client.status}: pass a running distributed.Client, or None to"
                " use the active one."
            )
        _check_not_forked(client)
        client_of(*rows, client=client)
        # Workers may be threads of ours, or take the cores from BLAS threads of ours that
        # wait for each other then: a Cholesky of 5 ms was seen to take 110.
        stack.enter_context(single_threaded_blas())
        stack.enter_context(in_our_words(client))
        yield client


def _client_here(stack):
    import distributed

    try:
        distributed.get_worker()
    except ValueError:
        try:
            return distributed.Client.current()
        except ValueError:
            return None
    # Inside a task: leave the worker's thread pool while the fit waits for other tasks,
    # or a cluster with one thread would wait for itself.
    client = stack.enter_context(distributed.worker_client())
    # Tasks of one worker share its Client, which another of them may just be starting.
    patience = time.monotonic() + 30
    while client.status in ("newly-created", "connecting") and time.monotonic() < patience:
        time.sleep(0.01)
    return client


def client_of(*collections: Any, client: Client | None = None) -> Client | None:
    """The Client whose workers hold the futures in collections; None where there are none.

    Parameters
    ----------
    *collections
        Dask collections; anything else holds no futures.
    client : distributed.Client or None
        The Client to work on, where that is settled.

    Raises
    ------
    ValueError
        If no Client has all of them, or `client` is not of their cluster.
    """
    found: dict[str, Any] = {}  # address of a scheduler -> one of its Clients
    for future in _futures(collections):
        # Of a future that came out of a pickle nobody knows where it was.
        owner = future.client
        if owner is not None and owner.scheduler is not None:
            found.setdefault(owner.scheduler.address, owner)
    if len(found) > 1:
        raise ValueError(
            "X, y and sample_weight were persisted on different clusters"
            f" ({', '.join(map(repr, found))}): persist all of them on one Client."
        )
    owner = next(iter(found.values()), None)
    if owner is None or client is None:
        return owner
    if client.scheduler is None or client.scheduler.address not in found:
        raise ValueError(
            f"client is {client!r}, but the data was persisted on {owner!r}: pass the Client it was"
            " persisted on, or client=None, which takes that one."
        )
    return client


def check_here(*collections: Any) -> None:
    """Raise ValueError if collections hold futures of no Client of this process."""
    if any(future.client is None for future in _futures(collections)):
        raise ValueError(
            "X, y or sample_weight were persisted on a Client of another process, and this one has"
            " none: connect one to the same scheduler here, with distributed.Client(address), or"
            " fit in threads (joblib's backends 'threading' and 'dask')."
        )


def _futures(collections) -> Iterator:
    from distributed import Future

    for collection in collections:
        for values in _tables(collection):
            for value in values:
                if isinstance(value, Future):
                    yield value


def _tables(collection) -> Iterator:
    """The values of the parts of a collection's graph in which a future may be."""
    from dask.blockwise import Blockwise

    if hasattr(collection, "expr"):  # a data frame, whose graph is not made yet
        for node in collection.expr.walk():
            for operand in node.operands:
                if isinstance(operand, dict):
                    yield operand.values()
                elif hasattr(operand, "__dask_graph__") and not hasattr(operand, "walk"):
                    yield from _tables(operand)
        return
    graph = collection.__dask_graph__() if hasattr(collection, "__dask_graph__") else {}
    for layer in getattr(graph, "layers", {None: graph}).values():
        # These are made of functions alone, and may be many tasks.
        if not isinstance(layer, Blockwise):
            yield layer.values()


def _check_not_forked(client=None):
    """Raise where the threads of distributed were left behind in the parent process."""
    import distributed

    pool = getattr(distributed.utils, "_offload_executor", None)
    lost = any(not thread.is_alive() for thread in getattr(pool, "_threads", ()))
    if client is not None and not lost:
        runs_in = getattr(client.loop.asyncio_loop, "_thread_id", None)
        lost = runs_in is not None and runs_in not in {t.ident for t in threading.enumerate()}
    if lost:
        raise RuntimeError(
            "dask collections cannot be fitted in a process that was forked from one in which"
            " dask.distributed was at work: its threads are missing here. Start the process with"
            " multiprocessing.get_context('spawn'), or pass rows in memory."
        )


# -- one Client in this process ------------------------------------------------------------


class _Shared:
    """A Client of threads in this process, which fits at the same time have in common."""

    def __init__(self):
        self.lock = threading.Lock()
        self.n_fits = 0
        self.client = self.stack = None


_shared = _Shared()


def _forget_shared():
    global _shared
    _shared = _Shared()


os.register_at_fork(after_in_child=_forget_shared)


@contextmanager
def _shared_client():
    """The Client of this process, there for as long as a fit needs it."""
    shared = _shared
    with shared.lock:
        if shared.n_fits == 0:
            shared.stack = ExitStack()
            shared.client = _start(shared.stack)
        shared.n_fits += 1
    try:
        yield shared.client
    finally:
        with shared.lock:
            shared.n_fits -= 1
            if shared.n_fits == 0:
                stack, shared.stack, shared.client = shared.stack, None, None
                stack.close()


def _start(stack):
    """A Client and its cluster, which `stack` closes; nobody else can talk to them."""
    import distributed
    from dask.system import CPU_COUNT

    class Scheduler(distributed.Scheduler):
        """No pages over HTTP: distributed serves some even without a dashboard."""

        def start_http_server(self, *args, **kwargs):
            return

    class Worker(distributed.Worker):
        """One that does not wait for a chunk that is still being read when the fit has ended.

        A thread cannot be stopped; that of the chunk ends with the chunk, or the process.
        """

        start_http_server = Scheduler.start_http_server

        async def close(self, *args, executor_wait=True, **kwargs):
            return await super().close(*args, executor_wait=False, **kwargs)

    within = {"protocol": "inproc://"}
    with ExitStack() as starting:
        cluster = distributed.SpecCluster(
            scheduler={"cls": Scheduler, "options": {**within, "dashboard": False}},
            workers={0: {"cls": Worker, "options": {**within, "nthreads": CPU_COUNT}}},
            silence_logs=logging.WARNING,
        )
        starting.enter_context(cluster)
        client = starting.enter_context(distributed.Client(cluster, set_as_default=False))
        stack.push(starting.pop_all())
    return client


# -- workers without the package -----------------------------------------------------------


def check_package(waiting: Waiting, workers: Iterable[str]) -> None:
    """Raise where the scheduler or one of `workers` lacks this package; each is asked once.

    It would die of its first task, and the next worker of the same, until there is none.
    """
    from cloudpickle import list_registry_pickle_by_value
    from distributed.protocol.pickle import dumps

    known = _asked.setdefault(waiting.client, set())
    new = [worker for worker in workers if worker not in known][:_MOST_ASKED]
    new = [worker for worker in new if not worker.startswith("inproc://")]
    if not new or "dask_lasso" in list_registry_pickle_by_value():
        return
    call = {"function": dumps(eval), "args": dumps((_HAS_PACKAGE,)), "kwargs": dumps({})}
    soon = min(waiting.deadline, time.perf_counter() + _PATIENCE)
    lack = []
    try:
        if not known and waiting.ask("run_function", **call, deadline=soon)["result"] is False:
            lack.append("the scheduler")
        message = {"op": "run", "wait": True, **call}
        answers = waiting.ask(
            "broadcast", msg=message, workers=new, on_error="return_pickle", deadline=soon
        )
        for worker, answer in answers.items():
            if not isinstance(answer, bytes) and answer.get("result") is False:
                lack.append(f"worker {worker}")
    except TimeIsUp:  # one that is busy or stopped; it is not waited for
        pass
    if lack:
        others = f" and {len(lack) - 3} more" if len(lack) > 3 else ""
        raise ModuleNotFoundError(
            f"dask_lasso is missing on {', '.join(lack[:3])}{others}: install version"
            f" {__version__} there, or make the package importable, as it is in this process."
        )
    known.update(new)
