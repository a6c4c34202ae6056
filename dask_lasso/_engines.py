"""The three schedules of the loop, and the loop's two ends that they stand between.

An engine decides when results are taken in, when the estimate is renewed and which
blocks are sent out again. What a block computes and what the estimate is (a proximal
step of consensus ADMM, or the exact lasso of the rows seen so far) is the model's
affair; engines know neither.
"""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

import numpy as np

_HISTORY = {
    "time": np.float64,
    "n_updates": np.int64,
    "samples_seen": np.int64,
    "objective": np.float64,
    "primal_residual": np.float64,
    "dual_residual": np.float64,
    "rho": np.float64,
}


@runtime_checkable
class Engine(Protocol):
    """What `AsyncLassoRegressor(engine=...)` accepts besides a name.

    `run` is called once per fit, when the first task of every block is in flight.
    It takes results as they come from ``run.completed()``, hands each to
    ``run.absorb``, renews the estimate with ``run.update`` until that returns True,
    and sends blocks that are idle with ``run.submit``.
    """

    def run(self, run: Run) -> None: ...


class SyncEngine:
    """All blocks, then one new estimate, then all blocks again.

    Boyd, Parikh, Chu, Peleato & Eckstein (2011), section 7.1.
    """

    def run(self, run: Run) -> None:
        done = False
        while not done:
            for result in run.completed():  # the barrier: until nothing is in flight
                run.absorb(result)
            done = run.update()
            if not done:
                run.submit(run.idle())


class AsyncEngine:
    """One result, then a new estimate, then a new task.

    A coordinate update of a fixed-point operator: ARock (Peng, Xu, Yan & Yin 2016);
    Wu, Liu, Magnusson & Johansson (2023) prove it for delays of any length.
    """

    def run(self, run: Run) -> None:
        for result in run.completed():
            run.absorb(result)
            if run.update():
                break
            run.submit(run.idle()[: run.free_slots])


class BatchedEngine:
    """All results that have arrived, then a new estimate, then as many new tasks."""

    def run(self, run: Run) -> None:
        for batch in run.completed().batches():
            for result in batch:
                run.absorb(result)
            if run.update():
                break
            run.submit(run.idle()[: run.free_slots])


ENGINES = {"sync": SyncEngine, "async": AsyncEngine, "batched": BatchedEngine}


class Result:
    """A finished task: the block it was for, what it was sent, what it returned."""

    __slots__ = ("block", "sent", "value")

    def __init__(self, block, sent, value):
        self.block, self.sent, self.value = block, sent, value


class Run:
    """A fit in progress, as an engine sees it.

    Attributes
    ----------
    n_blocks : int
    free_slots : int
        Tasks that can be sent without queueing behind others: two per thread, so that
        no thread waits for a round trip.
    random_state : numpy.random.RandomState
        For engines that draw blocks at random; the built-in ones do not.
    """

    def __init__(self, place, *, max_iter, max_time, max_staleness, random_state, on_update):
        self.random_state = random_state
        self.stopped_by = None
        self.n_updates = 0
        self._place = place
        self._model = None
        self._max_iter = max_iter
        self._max_staleness = max_staleness
        self._on_update = on_update
        self._start = time.perf_counter()
        self._deadline = None if max_time is None else self._start + max_time
        self._history = {name: [] for name in _HISTORY}

        reports = place.load_statistics()
        self.n_blocks = len(reports)
        self._reports = reports
        self._in_flight = {future: (block, None) for block, future in enumerate(reports)}
        self._busy = set(range(self.n_blocks))
        # When a block was last sent, counted in updates: the order to send them in, and
        # how stale its part of the estimate is.
        self._sent_at = dict.fromkeys(range(self.n_blocks), 0)
        self._stream = place.as_completed(reports)

    def start(self, model) -> None:
        """Set what the blocks compute and what the estimate is."""
        self._model = model

    def finish(self) -> None:
        """Make the last estimate one of everything that was absorbed."""
        model = self._model
        row = None if model.converged else model.estimate()
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

    @property
    def free_slots(self) -> int:
        return max(0, 2 * self._place.n_threads - len(self._busy))

    def idle(self) -> list[int]:
        """Blocks that can be sent now, the one that has waited longest first.

        Empty while a block in flight must report before any other may be sent
        (`max_staleness`).
        """
        if not self._model.wants_updates:
            return []
        if self._max_staleness is not None and self._busy:
            oldest = min(self._sent_at[block] for block in self._busy)
            if self.n_updates + len(self._busy) - oldest >= self._max_staleness:
                return []
        return [
            block
            for block in sorted(self._sent_at, key=self._sent_at.get)
            if block not in self._busy and self._model.has_block(block)
        ]

    def submit(self, blocks) -> None:
        """Send each of `blocks` with the current estimate."""
        for block in blocks:
            sent, task, args = self._model.task(block, self._reports[block], self._place)
            future = self._place.submit(task, *args)
            self._in_flight[future] = (block, sent)
            self._busy.add(block)
            self._sent_at[block] = self.n_updates
            self._stream.add(future)

    def completed(self) -> Completed:
        """Results as they come: iterate for one at a time, or over ``.batches()``.

        Ends when nothing is in flight or the time is up.
        """
        return Completed(self)

    def absorb(self, result: Result) -> None:
        """Take one result in, in O(k) for an update of a block."""
        if result.sent is None:
            defect = result.value.defect
            if defect is not None:
                where = self._place.locate(result.block, defect)
                raise ValueError(f"Input {defect.argument} {defect.problem}, {where}.")
            self._model.absorb_report(result.block, result.value)
        else:
            self._model.absorb_update(result.block, result.sent, result.value)
            self.n_updates += 1

    def update(self) -> bool:
        """Renew the estimate from all that was absorbed; True when the fit has ended."""
        model = self._model
        row = model.update(self.n_updates)
        if row is not None and self._record(row):
            self.stopped_by = "callback"
        if model.converged:
            return True
        if self.n_updates >= self._max_iter * self.n_blocks:
            self.stopped_by = "max_iter"
        if self._late() and model.samples_seen:
            self.stopped_by = "max_time"
        return self.stopped_by is not None

    def _record(self, row) -> bool:
        row["time"] = time.perf_counter() - self._start
        row["n_updates"] = self.n_updates
        for name, column in self._history.items():
            column.append(row.get(name, np.nan))
        return self._on_update(row)

    def _late(self) -> bool:
        return self._deadline is not None and time.perf_counter() >= self._deadline

    def _receive(self, future, value) -> Result:
        block, sent = self._in_flight.pop(future)
        self._busy.discard(block)
        if sent is not None:
            self._place.release(future)
        return Result(block, sent, value)

    @property
    def history(self) -> dict[str, np.ndarray]:
        return {name: np.array(self._history[name], dtype) for name, dtype in _HISTORY.items()}


class Completed:
    """Iterator over results; ``batches()`` over lists of those that are there."""

    def __init__(self, run: Run):
        self._run = run

    def __iter__(self):
        for batch in self._wait(one=True):
            yield from batch

    def batches(self):
        """Lists of all results that have arrived, at least one in each."""
        return self._wait(one=False)

    def _wait(self, one):
        run = self._run
        while run._in_flight:
            # Before the first report there is nothing to return: then time waits.
            deadline = run._deadline if run._model.samples_seen else None
            try:
                ready = run._stream.next(deadline, one)
            except TimeoutError:
                run.stopped_by = "max_time"
                return
            yield [run._receive(future, value) for future, value in ready]
