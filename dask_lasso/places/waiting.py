"""Waiting for a Client's cluster, one way for every route.

A wait ends with results; when the time is up; with what a task raised; or with one error
in our words, where tasks are cancelled, the scheduler is lost or the Client is closed. It
never sits in a call that only a living event loop would end, so Ctrl-C and `max_time` hold
whatever became of the cluster.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .._warn import warn
from .graphs import retries
from .place import Future

if TYPE_CHECKING:
    from distributed import Client

# Seconds between two looks at the Client's status, and at the clock.
_LOOK = 0.1
# Seconds without a result after which it is looked for what may be the reason.
_QUIET = 5.0
# Seconds in which a lost scheduler shows in the status of the Client.
_PATIENCE = 1.0


class TimeIsUp(TimeoutError):
    """`max_time` is over; the message says what there is not yet."""


class ClusterError(RuntimeError):
    """The cluster does not go on with the fit."""


class Waiting:
    """The futures of a fit on a Client, and all that is asked of its scheduler.

    Parameters
    ----------
    client : distributed.Client
    deadline : float
        Of `time.perf_counter`; infinite where there is none.

    Attributes
    ----------
    futures : set
        Those that have not been released.
    """

    def __init__(self, client: Client, deadline: float = np.inf) -> None:
        self.client: Any = client
        self.deadline = deadline
        self.futures: set[Future] = set()
        self._has_warned = False

    def compute(self, collections: Sequence, optimize_graph: bool = False) -> list:
        """Futures of dask collections, which are optimised already."""
        options = {"optimize_graph": optimize_graph, "retries": retries()}
        futures = self.client.compute(collections, **options)
        self.futures.update(futures)
        return futures

    def persist(self, collection: Any) -> Any:
        """The same collection, optimised already, of which the cluster has the results."""
        from distributed import futures_of

        kept = self.client.persist(collection, optimize_graph=False, retries=retries())
        self.futures.update(futures_of(kept))
        return kept

    def release(self, future: Future) -> None:
        # Released, not cancelled: the scheduler drops what nobody else wants, and leaves
        # alone what another fit or the user has asked for under the same key.
        self.futures.discard(future)
        if self.client.status != "closed":
            future.release()

    def release_all(self) -> None:
        for future in list(self.futures):
            self.release(future)

    def gather(self, futures: Sequence[Future]) -> list:
        """Results of all `futures`, which are released."""
        found: dict = {}
        stream = Stream(self, futures)
        try:
            while len(found) < len(futures):
                found.update(stream.next(self.deadline, one=False))
        except TimeIsUp:
            if found:
                raise TimeIsUp("not all chunks of rows have been read") from None
            raise
        for future in futures:
            self.release(future)
        return [found[future] for future in futures]

    def ask(self, question: str, *, deadline: float | None = None, **message: Any) -> Any:
        """What the scheduler answers to a `question`, the name of one of its handlers."""
        deadline = self.deadline if deadline is None else deadline
        with in_our_words(self.client):
            check(self.client)
            answer = asyncio.run_coroutine_threadsafe(
                getattr(self.client.scheduler, question)(**message), self.client.loop.asyncio_loop
            )
            try:
                while not answer.done():
                    left = deadline - time.perf_counter()
                    if left <= 0:
                        raise TimeIsUp("the scheduler has not answered")
                    concurrent.futures.wait([answer], timeout=min(_LOOK, left))
                    if not answer.done():
                        check(self.client)
                return answer.result()
            finally:
                answer.cancel()

    def explain(self) -> None:
        """Warn, once, if there is a reason for which no chunk may ever arrive."""
        if self._has_warned:
            return
        soon = min(self.deadline, time.perf_counter() + _PATIENCE)
        try:
            threads = self.ask("ncores", deadline=soon)
            running = self.ask("ncores_running", deadline=soon)
            processing = self.ask("processing", deadline=soon)
        except TimeIsUp:
            return  # a busy scheduler; the next look may find out
        if not threads:
            reason = "the cluster has no worker: start some, as with cluster.scale(2)"
        elif not running:
            reason = f"none of {len(threads)} workers takes tasks: they are paused or closing"
        elif not any(processing.values()):
            reason = (
                "no worker works on anything: the chunks may be restricted"
                " (dask.annotate(workers=..., resources=...)) to workers that are not there"
            )
        else:
            return
        self._has_warned = True
        warn(f"No chunk has arrived for {_QUIET:.0f} s, and {reason}.", UserWarning)


class Stream:
    """`distributed.as_completed` with a deadline, raising what a task raised."""

    def __init__(self, waiting: Waiting, futures: Iterable[Future]) -> None:
        from distributed import as_completed

        self._waiting = waiting
        self._completed = as_completed(
            futures, loop=waiting.client.loop, with_results=True, raise_errors=False
        )
        self._looked = time.perf_counter()

    def add(self, future: Future) -> None:
        self._completed.add(future)

    def next(self, deadline: float, one: bool) -> list[tuple[Any, Any]]:
        """Futures and their results, one or all that are there; at least one is waited for."""
        # as_completed has one timeout for its whole life, and a lost scheduler shows in
        # the client's status alone: look at both, a few times a second.
        completed = self._completed
        while not completed.has_ready():
            check(self._waiting.client, or_else=("connecting",))
            now = time.perf_counter()
            if now >= deadline:
                raise TimeIsUp("no chunk of rows has been read")
            if now - self._looked >= _QUIET:
                self._looked = now
                self._waiting.explain()
            with completed.thread_condition:
                if not completed.has_ready():
                    completed.thread_condition.wait(min(_LOOK, deadline - now))
        self._looked = time.perf_counter()
        ready = [next(completed)] if one else next(iter(completed.batches()))
        wanted = self._waiting.futures
        return [(f, self._result(f, value)) for f, value in ready if f in wanted]

    def _result(self, future, value):
        from distributed import KilledWorker

        if future.status == "error":
            _, error, trace = value
            if isinstance(error, KilledWorker):
                raise ClusterError(
                    f"Every worker that took task {future.key!r} on died of it, most likely for"
                    " want of memory: use smaller chunks (X.rechunk, X.repartition), or workers"
                    " with more memory."
                ) from error
            raise error.with_traceback(trace)
        if isinstance(value, BaseException):
            _wait_for_loss(self._waiting.client, value)
            raise ClusterError(
                f"The cluster cancelled task {future.key!r} during fit: {value}. A chunk that"
                " was persisted or scattered may have gone with its worker; persist it again."
            ) from value
        return value


def check(client: Client, or_else: tuple[str, ...] = ()) -> None:
    """Raise unless the Client is connected to its scheduler."""
    if client.status != "running" and client.status not in or_else:
        raise _lost(client)


def _lost(client):
    return ClusterError(
        f"The Client lost its scheduler during fit (status: {client.status})."
        " Reconnect and fit again."
    )


def _wait_for_loss(client, error):
    """A scheduler that goes away cancels first and is missed a moment later."""
    patience = time.monotonic() + _PATIENCE
    while time.monotonic() < patience:
        if client.status != "running":
            raise _lost(client) from error
        time.sleep(_LOOK / 2)


@contextmanager
def in_our_words(client: Client) -> Iterator[None]:
    """Say in one error what distributed says in many: that the cluster is gone."""
    from distributed import CancelledError
    from distributed.comm import CommClosedError

    try:
        yield
    except (ClusterError, TimeIsUp):
        raise
    except (CommClosedError, CancelledError) as error:
        _wait_for_loss(client, error)
        raise ClusterError(f"The cluster gave up on the fit: {error}. Fit again.") from error
    except Exception as error:
        # Whatever a call makes of a Client that has been closed beneath it.
        if client.status in ("closing", "closed"):
            raise _lost(client) from error
        raise
