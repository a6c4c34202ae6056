"""A fit in progress, as an engine sees it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, takewhile
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from ..places.place import Future, Place, usable
from ..places.waiting import TimeIsUp
from .record import Estimate, Record

# A task that takes this many times the median of the last ones is offered to another worker.
_LAG = 3.0

_LAST = 64

# Seconds below which nothing is worth offering, and between two looks for such tasks.
_LOOK = 0.05

# Seconds after `max_time` in which the blocks may still answer about the last estimate.
_GRACE = 1.0


class Flight(NamedTuple):
    """A task that is on its way: what for, since when, and all that it takes to repeat it."""

    block: int
    kind: str  # "report", "update" or "answer"
    sent: Any
    call: tuple | None
    time: float


class Result(NamedTuple):
    """A finished task: the block it was for, what it was sent, what it returned."""

    block: int
    kind: str
    sent: Any
    value: Any


class Model(Protocol):
    """What a run computes: the estimate, from what the blocks have reported."""

    wants_updates: bool  # whether it is a `WorkingModel`
    estimate: Estimate | None
    converged: bool

    @property
    def statistics(self) -> Any: ...  # of all that has been merged
    @property
    def null_loss(self) -> np.ndarray: ...  # what `tol` is relative to
    @property
    def samples_seen(self) -> int: ...
    def absorb_report(self, block: int, report: Any, /) -> None: ...
    def update(self, n_updates: int) -> dict | None: ...  # a row of the history
    def conclude(self) -> dict | None: ...  # of everything that was absorbed


class WorkingModel(Model, Protocol):
    """A model whose blocks have more to do than to report: that of ADMM."""

    @property
    def updates_per_report(self) -> int: ...
    def has_block(self, block: int) -> bool: ...
    def task(self, block: int, data: Future) -> tuple: ...  # what is sent, function, arguments
    def absorb_update(self, block: int, sent: Any, value: Any, /) -> None: ...
    def question(self) -> Any: ...  # to the blocks, about a frozen estimate; or None
    def absorb_answer(self, question: Any, answer: Any) -> None: ...
    def certify(self) -> dict | None: ...  # once all have answered


class Limits(Protocol):
    """What a run has to know of the settings of a fit."""

    @property
    def max_iter(self) -> int: ...
    @property
    def max_staleness(self) -> int | None: ...
    @property
    def random_state(self) -> np.random.RandomState | None: ...


class Blocks(NamedTuple):
    """Futures of each block: the data that updates work on, and its report."""

    data: Sequence[Future]
    reports: Sequence[Future]


class Run:
    """A fit in progress, as an engine sees it: what `run` of an `Engine` is handed.

    The first task of every block is in flight. A block that reports or has been updated is
    at home, and can be sent again. In a fit from statistics with ``polish=True`` blocks report
    and have no more to do: nothing is idle then.

    Attributes
    ----------
    n_blocks : int
    n_updates : int
        Updates of blocks that were absorbed.
    free_slots : int
        Updates that can be sent now: two per thread at a time, so that no thread waits for
        a round trip and none queues behind many, but no more than half of the blocks if
        that leaves no thread idle: with all at work on old estimates ADMM takes several
        times the sweeps. No more than `max_staleness` allows, and few while there are blocks
        to read.
    random_state : numpy.random.RandomState
        For engines that draw blocks at random; the built-in ones do not.
    stopped_by : {"max_time", "max_iter", "callback", "engine"} or None

    Examples
    --------
    An engine that renews the estimate when half of the blocks have been updated:

    >>> import numpy as np
    >>> from dask_lasso import AsyncLassoRegressor, Run
    >>> class Quorum:
    ...     def run(self, run: Run) -> None:
    ...         waiting = 0
    ...         for result in run.completed():
    ...             run.absorb(result)
    ...             waiting += 1
    ...             if 2 * waiting >= run.n_blocks:
    ...                 waiting = 0
    ...                 if run.update():
    ...                     break
    ...                 run.submit(run.idle())
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> model = AsyncLassoRegressor(0.1, engine=Quorum(), polish=False, n_blocks=4)
    >>> model.fit(X, X[:, 0]).coef_.round(2) + 0.0
    array([0.91, 0.  , 0.  ])
    """

    def __init__(
        self, place: Place, blocks: Blocks, model: Model, settings: Limits, record: Record
    ) -> None:
        self.random_state = settings.random_state
        self.stopped_by: str | None = None
        self.n_updates = 0
        self.n_blocks = len(blocks.reports)
        self._place, self._data = place, blocks.data
        self._model = cast(WorkingModel, model)  # or no more than a `Model`: see `wants_updates`
        self._max_iter, self._max_staleness = settings.max_iter, settings.max_staleness
        self._record = record
        self._deadline = place.deadline
        now = time.perf_counter()
        self._in_flight = {
            future: Flight(block, "report", None, None, now)
            for block, future in enumerate(blocks.reports)
        }
        # Both in the order in which they were sent: the first is the oldest, and found in O(1)
        # however many went before it, which it is not in a dict.
        self._updating: OrderedDict[int, None] = OrderedDict()
        self._sent: OrderedDict[Future, None] = OrderedDict()  # futures of updates and answers
        self._n_reported = 0
        # Blocks that can be sent, in the order in which they came home: O(1) a result.
        self._at_home: OrderedDict[int, None] = OrderedDict()
        # An update is as stale as there are updates in the estimate that were not in the
        # one that its block was sent: none behind a barrier.
        self._in_estimate = 0
        self._sent_at = dict.fromkeys(range(self.n_blocks), 0)
        self._staleness = np.zeros(self.n_blocks, dtype=np.int64)
        self._durations: deque[float] = deque(maxlen=_LAST)
        # (block, kind) -> the futures that run the same task
        self._offered: dict[tuple[int, str], tuple[Future, Future]] = {}
        self._looked = now
        self._stream = place.as_completed(blocks.reports)

    def finish(self) -> None:
        """Make the last estimate one of everything that was absorbed."""
        model = self._model
        if self.stopped_by is None and not model.converged:
            self.stopped_by = "engine"
            if self._n_reported == 0:
                raise ValueError(
                    "engine returned before it absorbed any result: its run(run) has to absorb"
                    " what run.completed() yields, until run.update() returns True."
                )
        for future, flight in list(self._in_flight.items()):
            if flight.kind != "report":
                self._drop(future)
        row = None if model.converged else model.conclude()
        if row is None and model.wants_updates and not model.converged:
            row = self._wait_for_answers()
        if row is not None:
            self._note(row)
        usable(model.statistics, self._place)

    def _wait_for_answers(self):
        """Ask the blocks that have reported about the last estimate; its row of the history."""
        question = self._ask()
        if question is None:
            return None
        deadline = max(self._deadline, time.perf_counter() + _GRACE)
        try:
            while len(question.answers) < len(question.blocks):
                for future, value in self._stream.next(deadline, one=False):
                    if future in self._in_flight and self._in_flight[future].kind == "answer":
                        self.absorb(self._receive(future, value))
        except TimeIsUp:
            if self._model.estimate is None:
                raise TimeIsUp("no estimate has a certificate") from None
            self.stopped_by = "max_time"  # with the last estimate that has one
            return None
        return self._model.certify()

    @property
    def free_slots(self) -> int:
        if not self._model.wants_updates:
            return 0
        threads = self._place.n_threads
        free = min(2 * threads, max(threads, self.n_blocks // 2)) - len(self._updating)
        if self._n_reported < self.n_blocks:
            sent = self.n_updates + len(self._updating)
            free = min(free, self._model.updates_per_report * self._n_reported - sent)
        if self._max_staleness is not None and self._updating:
            # Were all others to report before the oldest one, it would be this stale.
            worst = self.n_updates - self._oldest + len(self._updating) - 1
            free = min(free, self._max_staleness - worst)
        elif self._max_staleness is not None:
            free = min(free, self._max_staleness + 1)
        return max(0, free)

    @property
    def _oldest(self) -> int:
        """Updates that were in the estimate when the oldest update in flight was sent."""
        return self._sent_at[next(iter(self._updating))]

    def idle(self, limit: int | None = None) -> list[int]:
        """Blocks at home, at most `limit`, the one that has waited longest first."""
        if not self._model.wants_updates:
            return []
        at_home = (block for block in self._at_home if self._model.has_block(block))
        return list(islice(at_home, limit))

    def submit(self, blocks: Iterable[int]) -> None:
        """Send each of `blocks` with the current estimate."""
        for block in blocks:
            sent, task, args = self._model.task(block, self._data[block])
            self._send(block, "update", sent, (task, *args))
            self._at_home.pop(block, None)
            self._updating[block] = None
            self._sent_at[block] = self._in_estimate

    def _send(self, block, kind, sent, call):
        future = self._place.submit(*call)
        self._in_flight[future] = Flight(block, kind, sent, call, time.perf_counter())
        self._sent[future] = None
        self._stream.add(future)

    def _ask(self):
        """Send the model's question, if it has one, to the blocks; nothing waits for it."""
        question = self._model.question() if self._model.wants_updates else None
        if question is not None:
            task, args = question.task
            for block in question.blocks:
                self._send(block, "answer", question, (task, self._data[block], *args))
        return question

    def completed(self, offer: bool = False) -> Completed:
        """Results as they come: iterate for one at a time, or over ``.batches()``.

        Ends when nothing is in flight or the time is up. With `offer`, a task that lags
        several times behind the others' median is offered to another worker; the first
        result counts.
        """
        return Completed(partial(self._results, offer))

    def absorb(self, result: Result) -> None:
        """Take one result in, in O(k) for an update of a block."""
        if result.kind == "report":
            defect = result.value.defect
            if defect is not None:
                where = self._place.locate(result.block, defect)
                raise ValueError(f"Input {defect.argument} {defect.problem}, {where}.")
            self._model.absorb_report(result.block, result.value)
            self._n_reported += 1
        elif result.kind == "answer":
            self._model.absorb_answer(result.sent, result.value)
        else:
            self._model.absorb_update(result.block, result.sent, result.value)
            stale = self._in_estimate - self._sent_at[result.block]
            self._staleness[result.block] = max(self._staleness[result.block], stale)
            self.n_updates += 1

    def update(self) -> bool:
        """Renew the estimate from all that was absorbed; True when the fit has ended."""
        model = self._model
        row = model.update(self.n_updates)
        self._in_estimate = self.n_updates
        if row is not None and self._note(row):
            self.stopped_by = "callback"
        if model.converged:
            return True
        if self.n_updates >= self._max_iter * self.n_blocks:
            self.stopped_by = "max_iter"
        if self._late() and model.samples_seen:
            self.stopped_by = "max_time"
        if self.stopped_by is None:
            self._ask()
        return self.stopped_by is not None

    def _note(self, row) -> bool:
        row["n_updates"] = self.n_updates
        if self._updating:
            row["staleness"] = self.n_updates - self._oldest
        return self._record.add(row, self._model.estimate)

    def _late(self) -> bool:
        return time.perf_counter() >= self._deadline

    def _receive(self, future, value) -> Result:
        flight = self._in_flight.pop(future)
        self._sent.pop(future, None)
        block, kind = flight.block, flight.kind
        if kind != "report":
            self._durations.append(time.perf_counter() - flight.time)
            for other in self._offered.pop((block, kind), ()):
                if other is not future:
                    self._place.prefer(future, other)
                    self._drop(other)
            self._place.release(future)
        if kind == "update":
            self._updating.pop(block, None)
        if kind != "answer":
            self._at_home[block] = None
        return Result(block, kind, flight.sent, value)

    def _drop(self, future):
        self._sent.pop(future, None)
        if self._in_flight.pop(future, None) is not None:
            self._place.release(future)

    def _offer_laggards(self):
        """Offer tasks that take several times the median to another worker."""
        now = time.perf_counter()
        if now - self._looked < _LOOK or not self._durations:
            return
        self._looked = now
        limit = max(_LOOK, _LAG * float(np.median(self._durations)))
        # The oldest come first: as many are looked at as lag behind.
        lagging = takewhile(lambda future: now - self._in_flight[future].time >= limit, self._sent)
        lagging = {future: self._in_flight[future] for future in lagging}
        offers = {
            future: flight.call
            for future, flight in lagging.items()
            if (flight.block, flight.kind) not in self._offered
        }
        if not offers:
            return
        for future, other in self._place.offer(offers).items():
            flight = lagging[future]
            self._offered[flight.block, flight.kind] = (future, other)
            self._in_flight[other] = flight
            self._stream.add(other)

    def _results(self, offer, one) -> Iterator[list[Result]]:
        while self._in_flight:
            if offer:
                self._offer_laggards()
            until = self._deadline
            if offer:
                until = min(until, time.perf_counter() + _LOOK)
            try:
                ready = self._stream.next(until, one)
            except TimeIsUp:
                if not self._late():
                    continue
                if not self._model.samples_seen:
                    raise
                self.stopped_by = "max_time"
                return
            results = [self._receive(f, value) for f, value in ready if f in self._in_flight]
            if results:
                yield results

    @property
    def n_missing(self) -> int:
        """Blocks that have not reported."""
        return self.n_blocks - self._n_reported

    @property
    def staleness(self) -> np.ndarray:
        """Per block, the most updates by which the estimate was ahead of the one it was sent."""
        return self._staleness


class Completed:
    """Iterator over results; ``batches()`` over lists of those that are there."""

    def __init__(self, results: Callable[[bool], Iterator[list[Result]]]) -> None:
        self._results = results

    def __iter__(self) -> Iterator[Result]:
        for batch in self._results(True):
            yield from batch

    def batches(self) -> Iterator[list[Result]]:
        """Lists of all results that have arrived, at least one in each."""
        return self._results(False)
