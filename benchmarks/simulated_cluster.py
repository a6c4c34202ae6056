"""A Dask cluster in virtual time, on which the package's own engines run.

The engines are not modelled: `dask_lasso.engines.run` itself runs, under a virtual clock, on a
simulated place. What is modelled is the cluster: a client and a scheduler that take one
message at a time, links with a latency that send at most once per interval (as distributed's
do), workers of one thread that may be slow or die. A discrete-event simulation: a heap of
events, each a method and the time when it happens.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace

import numpy as np
from internals import InMemory, Run, TimeIsUp, fitted_inside

# distributed's intervals between two messages on one link, in seconds.
INTERVAL = {"client": 0.010, "to worker": 0.005, "from worker": 0.002, "home": 0.002}
STEALING = 1.0  # seconds between two rounds of work stealing


@dataclass(frozen=True)
class Cluster:
    """A cluster; all times in seconds."""

    workers: int
    submit: float = 0.0  # of the client's time, per task
    result: float = 0.0  # of the client's time, per result
    update: float = 0.0  # of the client's time, per estimate
    scheduler: float = 0.0  # of the scheduler's time, per task: half when it comes, half after
    worker: float = 0.0  # of a worker's time, per task, beside the task itself
    hop: float = 0.0  # latency of a message
    fetch: float = 0.0  # from a task's end being known to its result being there
    start: float = 0.0  # before the first task is sent
    slow: dict = field(default_factory=dict)  # worker -> how many times slower
    spread: float = 0.0  # of log durations
    steal: bool = True  # queued tasks may move, as distributed lets small data do
    offer: bool = True  # lagging blocks are offered to other workers
    failures: float = 0.0  # per worker and hour
    restart: float = 2.0  # until a dead worker is back
    reload: float = 0.0  # to read a block again
    move: float = 0.0  # to copy a block to another worker


class Future:
    """A task, and from its end on its value and the workers that hold it."""

    __slots__ = ("args", "done", "holders", "pin", "released", "task", "value", "waiting", "worker")

    def __init__(self, task, args, pin=None):
        self.task, self.args, self.pin = task, args, pin
        self.done = self.released = False
        self.value = self.worker = None
        self.holders, self.waiting = set(), []

    def add_done_callback(self, call):
        """Nothing: nobody looks, in virtual time, how far a pass is."""

    @property
    def data(self):
        return self.args[0] if self.args and isinstance(self.args[0], Future) else None


class Simulated(InMemory):
    """A place as `InMemory` and `OnCluster` are, whose time is virtual.

    ``seconds(future, here)`` is how long a task takes that took `here` in this process.
    """

    deadline = np.inf

    def __init__(self, *arrays, cluster, seconds, **options):
        if arrays:
            super().__init__(*arrays, **options)
        self.cluster, self._seconds = cluster, seconds
        self.n_threads, self._executor = cluster.workers, None
        self.now = cluster.start  # at the client
        self.busy = {"client": 0.0, "scheduler": 0.0, "workers": 0.0}
        self._events, self._order = [], count()
        self._sent, self._free = {}, 0.0
        self._inbox, self._watched = deque(), set()
        self._queues = [(deque(), deque()) for _ in range(cluster.workers)]
        self._running, self._life = [None] * cluster.workers, [0] * cluster.workers
        self._held = [set() for _ in range(cluster.workers)]
        self._up = [0.0] * cluster.workers
        # Tasks without data wait at the scheduler until a worker has less than two of them.
        self._unplaced, self._slots = deque(), deque([*range(cluster.workers)] * 2)
        self._offers, self._home, self._lagged = {}, {}, set()
        self._random = np.random.default_rng(0)
        if cluster.steal:
            self._at(STEALING, self._steal)
        if cluster.failures:
            self._at(self._next_failure(), self._fail)

    # -- what the engines use ----------------------------------------------------------

    def submit(self, task, *args, pin=None):
        self.spend(self.cluster.submit)
        future = Future(task, args, pin)
        if pin is None:
            future.pin = self._home.get(future.data)
        self._send("client", self.now, self._arrive, future)
        return future

    def release(self, future):
        future.released = True

    def offer(self, calls):
        others = {}
        load = [self._load(worker) for worker in range(self.n_threads)]
        for future, (task, *args) in calls.items():
            avoided = self._lagged | {future.worker}
            spare = [worker for worker in range(self.n_threads) if worker not in avoided]
            if not self.cluster.offer or future.worker is None or not spare:
                continue
            worker = min(spare, key=load.__getitem__)
            load[worker] += 1
            others[future] = other = self.submit(task, *args, pin=worker)
            self._offers[other] = future.worker
        return others

    def prefer(self, winner, loser):
        if winner in self._offers:
            self._home[winner.data] = winner.pin
            self._lagged.add(self._offers[winner])

    def as_completed(self, futures):
        self._watched.update(futures)
        return self

    def add(self, future):
        self._watched.add(future)

    def next(self, until, one):
        """Results that are there, after the events until then."""
        while self._events and (self._events[0][0] <= self.now or not self._inbox):
            if not self._inbox and self._events[0][0] > until:
                self.now = max(self.now, until)
                raise TimeIsUp("in virtual time")
            at, _, action, args = heapq.heappop(self._events)
            if action == self._inbox.append:
                self.now = max(self.now, at)
            action(*args) if action == self._inbox.append else action(at, *args)
        ready = [self._inbox.popleft() for _ in range(1 if one else len(self._inbox))]
        self.spend(self.cluster.result * len(ready))
        return [(future, future.value) for future in ready]

    def spend(self, seconds):
        self.now += seconds
        self.busy["client"] += seconds

    # -- the cluster: every method is an event at the time `at` -------------------------

    def _at(self, at, action, *args):
        heapq.heappush(self._events, (at, next(self._order), action, args))

    def _send(self, link, at, action, *args, worker=None):
        """A message: at once, or with all others at the end of the link's interval."""
        last = self._sent.get((link, worker), -1.0)
        leaves = max(at, last if last > at else last + INTERVAL[link])
        self._sent[link, worker] = leaves
        self._at(leaves + self.cluster.hop, action, *args)

    def _serve(self, at):
        seconds = self.cluster.scheduler / 2
        self._free = max(at, self._free) + seconds
        self.busy["scheduler"] += seconds
        return self._free

    def _arrive(self, at, future):
        """A task is known to the scheduler."""
        missing = [a for a in future.args if isinstance(a, Future) and not a.done]
        if missing:
            missing[0].waiting.append(future)
            return
        at = self._serve(at)
        if future.pin is None and future.data is None:
            self._unplaced.append(future)
            self._place_more(at)
            return
        worker = future.pin
        if worker is None or self._up[worker] > at:
            holders = [w for w in future.data.holders if self._up[w] <= at]
            worker = min(holders or [self._any(at)], key=self._load)
        self._assign(at, worker, future)

    def _place_more(self, at):
        while self._unplaced and self._slots:
            self._assign(at, self._slots.popleft(), self._unplaced.popleft())

    def _any(self, at):
        worker = int(self._random.integers(self.n_threads))
        while self._up[worker] > at:
            worker = int(self._random.integers(self.n_threads))
        return worker

    def _load(self, worker):
        first, second = self._queues[worker]
        return len(first) + len(second) + (self._running[worker] is not None)

    def _assign(self, at, worker, future):
        future.worker = worker
        self._send("to worker", at, self._queue, worker, future, worker=worker)

    def _queue(self, at, worker, future):
        # Tasks on blocks go before blocks that are still to be read.
        self._queues[worker][future.data is None].append(future)
        self._begin(at, worker)

    def _begin(self, at, worker):
        while self._running[worker] is None and self._load(worker):
            first, second = self._queues[worker]
            future = (first or second).popleft()
            if future.released:
                continue
            seconds = self.cluster.worker
            data = future.data
            if data is not None and worker not in data.holders:
                seconds += self.cluster.move if data.holders else self.cluster.reload
                data.holders.add(worker)
                self._held[worker].add(data)
            began = time.perf_counter()
            args = (a.value if isinstance(a, Future) else a for a in future.args)
            future.value = future.task(*args)
            work = self._seconds(future, time.perf_counter() - began)
            work *= self.cluster.slow.get(worker, 1.0)
            if self.cluster.spread:
                work *= self._random.lognormal(0.0, self.cluster.spread)
            seconds += work
            self._running[worker] = future
            begins = max(at, self._up[worker])
            self._at(begins + seconds, self._end, worker, future, work, self._life[worker])

    def _end(self, at, worker, future, work, life):
        if life != self._life[worker]:
            return  # it died with its worker
        self.busy["workers"] += work
        self._running[worker] = None
        future.holders.add(worker)
        self._held[worker].add(future)
        self._send("from worker", at, self._finish, worker, future, worker=worker)
        self._begin(at, worker)

    def _finish(self, at, worker, future):
        """A task's end is known to the scheduler."""
        at = self._serve(at)
        if future.data is None:
            self._slots.append(worker)
            self._place_more(at)
        future.done = True
        for waiting in future.waiting:
            self._arrive(at, waiting)
        if future in self._watched:
            self._watched.discard(future)
            self._send("home", at + self.cluster.fetch, self._inbox.append, future)

    def _steal(self, at):
        """Queued tasks of the fullest workers go to those who have nothing."""
        full = sorted((first for first, _ in self._queues if len(first) > 1), key=len)
        idle = [w for w in range(self.n_threads) if not self._load(w) and self._up[w] <= at]
        for thief, queue in zip(idle, reversed(full), strict=False):
            self._assign(at, thief, queue.pop())
        self._at(at + STEALING, self._steal)

    def _next_failure(self):
        return self._random.exponential(3600 / (self.cluster.failures * self.n_threads))

    def _fail(self, at):
        """A worker dies: its blocks are gone, its tasks go elsewhere."""
        worker = self._any(at)
        self._life[worker] += 1
        self._up[worker] = at + self.cluster.restart
        lost = [future for queue in self._queues[worker] for future in queue]
        lost += [self._running[worker]] * (self._running[worker] is not None)
        self._queues[worker], self._running[worker] = (deque(), deque()), None
        for data in self._held[worker]:
            data.holders.discard(worker)
        self._held[worker] = set()
        for future in lost:
            if future.data is None:
                self._slots.append(worker)
            self._arrive(at, future)
        self._at(at + self._next_failure(), self._fail)


class TimedRun(Run):
    """A `Run` whose estimates cost the client time."""

    def update(self):
        self._place.spend(self._place.cluster.update)
        return super().update()


def simulated_fit(model, X, y, cluster, seconds):
    """`model` fitted on `cluster`, in virtual time; also the place and seconds of the fit."""
    places = []

    def place(*arrays, **options):
        places.append(Simulated(*arrays, cluster=cluster, seconds=seconds, **options))
        return places[0]

    clock = SimpleNamespace(perf_counter=lambda: places[0].now if places else 0.0)
    with fitted_inside(place, TimedRun, clock):
        model.fit(X, y)
    return places[0]
