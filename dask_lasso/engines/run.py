"""A fit in progress, as an engine sees it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from itertools import islice, takewhile
from typing import NamedTuple

import numpy as np

from ..places.waiting import TimeIsUp

HISTORY = {
    "time": np.float64,
    "n_updates": np.int64,
    "samples_seen": np.int64,
    "objective": np.float64,
    "primal_residual": np.float64,
    "dual_residual": np.float64,
    "rho": np.float64,
    "staleness": np.float64,
}

# A task that takes this many times the median of the last ones is offered to another worker.
_LAG = 4.0

_LAST = 64

# Seconds below which nothing is worth offering, and between two looks for such tasks.
_LOOK = 0.05

# Seconds after `max_time` in which the blocks may still answer about the last estimate.
_GRACE = 1.0


class Flight(NamedTuple):
    """A task that is on its way: what for, since when, and all that it takes to repeat it."""

    block: int
    kind: str  # "report", "update" or "answer"
    sent: object
    call: tuple | None
    time: float


class Result(NamedTuple):
    """A finished task: the block it was for, what it was sent, what it returned."""

    block: int
    kind: str
    sent: object
    value: object


class Run:
    """A fit in progress, as an engine sees it.

    Attributes
    ----------
    n_blocks : int
    free_slots : int
        Updates that can be sent now: two per thread at a time, so that no thread waits for
        a round trip and none queues behind many, but no more than half of the blocks if
        that leaves no thread idle: with all at work on old estimates ADMM takes several
        times the sweeps. No more than `max_staleness` allows, and few while there are blocks
        to read.
    random_state : numpy.random.RandomState
        For engines that draw blocks at random; the built-in ones do not.
    """

    def __init__(
        self,
        place,
        partition=None,
        *,
        load=None,
        max_iter,
        max_staleness,
        random_state,
        on_update,
    ):
        self.random_state = random_state
        self.n_passes = 1  # every chunk is read once
        self.stopped_by = None
        self.n_updates = 0
        self._place = place
        self._model = None
        self._max_iter = max_iter
        self._max_staleness = max_staleness
        self._on_update = on_update
        self._start = time.perf_counter()
        self._deadline = place.deadline
        self._history = {name: [] for name in HISTORY}

        if load is None:
            self._data = reports = place.load_statistics(partition)
        else:
            self._data, reports = load(place)
        self.n_blocks = len(reports)
        self._in_flight = {
            future: Flight(block, "report", None, None, self._start)
            for block, future in enumerate(reports)
        }
        # Both in the order in which they were sent: the first is the oldest, and found in O(1)
        # however many went before it, which it is not in a dict.
        self._updating = OrderedDict()
        self._sent = OrderedDict()  # futures of updates and answers
        self._n_reported = 0
        # Blocks that can be sent, in the order in which they came home: O(1) a result.
        self._at_home = OrderedDict()
        # An update is as stale as there are updates in the estimate that were not in the
        # one that its block was sent: none behind a barrier.
        self._in_estimate = 0
        self._sent_at = dict.fromkeys(range(self.n_blocks), 0)
        self._staleness = np.zeros(self.n_blocks, dtype=np.int64)
        self._durations = deque(maxlen=_LAST)
        self._offered = {}  # (block, kind) -> the futures that run the same task
        self._looked = self._start
        self._stream = place.as_completed(reports)

    def start(self, model) -> None:
        """Set what the blocks compute and what the estimate is."""
        self._model = model

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
        row = None if model.converged else model.estimate()
        if row is None and model.wants_updates and not model.converged:
            row = self._wait_for_answers()
        if row is not None:
            self._record(row)
        statistics = model.statistics
        if statistics is None or statistics.n_rows == 0:
            raise ValueError(
                "Found array with 0 sample(s) while a minimum of 1 is required: no chunk of X"
                " has a row."
            )
        if statistics.weight == 0:
            raise ValueError(
                "sample_weight is zero for every row: give some row a positive weight."
            )

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
            if self._model.coef is None:
                raise TimeIsUp("no estimate has a certificate") from None
            self.stopped_by = "max_time"  # with the last estimate that has one
            return None
        return self._model.conclude()

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

    def submit(self, blocks) -> None:
        """Send each of `blocks` with the current estimate."""
        for block in blocks:
            sent, task, args = self._model.task(block, self._data[block], self._place)
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

    def completed(self, offer=False) -> Completed:
        """Results as they come: iterate for one at a time, or over ``.batches()``.

        Ends when nothing is in flight or the time is up. With `offer`, a task that lags
        several times behind the others' median is offered to another worker; the first
        result counts.
        """
        return Completed(self, offer)

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
        if row is not None and self._record(row):
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

    def _record(self, row) -> bool:
        row["time"] = time.perf_counter() - self._start
        row["n_updates"] = self.n_updates
        if self._updating:
            row["staleness"] = self.n_updates - self._oldest
        for name, column in self._history.items():
            column.append(row.get(name, np.nan))
        return self._on_update(row)

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

    @property
    def history(self) -> dict[str, np.ndarray]:
        return {name: np.array(self._history[name], dtype) for name, dtype in HISTORY.items()}

    @property
    def staleness(self) -> np.ndarray:
        """Per block, the most updates by which the estimate was ahead of the one it was sent."""
        return self._staleness


class Completed:
    """Iterator over results; ``batches()`` over lists of those that are there."""

    def __init__(self, run: Run, offer: bool):
        self._run = run
        self._offer = offer

    def __iter__(self):
        for batch in self._wait(one=True):
            yield from batch

    def batches(self):
        """Lists of all results that have arrived, at least one in each."""
        return self._wait(one=False)

    def _wait(self, one):
        run = self._run
        while run._in_flight:
            if self._offer:
                run._offer_laggards()
            until = run._deadline
            if self._offer:
                until = min(until, time.perf_counter() + _LOOK)
            try:
                ready = run._stream.next(until, one)
            except TimeIsUp:
                if not run._late():
                    continue
                if not run._model.samples_seen:
                    raise
                run.stopped_by = "max_time"
                return
            results = [run._receive(f, value) for f, value in ready if f in run._in_flight]
            if results:
                yield results
