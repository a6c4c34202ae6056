"""Rows in chunks of dask collections, and the Client whose workers read them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import numpy as np
from dask.core import flatten

from .._warn import warn
from ..rows.cells import Partition, cells_of_chunk, collect_cells, consecutive_folds, merge_cells
from ..rows.chunk import Defect
from ..rows.column_chunks import (
    Every,
    Placed,
    every_column,
    merge_every,
    merge_placed,
    placed_rows,
)
from ..rows.needs import Needs, Targets, needs_of
from ..rows.passes import take_columns
from ..rows.raw import raw_rows
from ..rows.statistics import Statistics, merge_statistics, statistics_of_chunk
from .client import check_package
from .graphs import Run, blocks_of, key_of, optimised, retries
from .joined import Joined
from .reading import Chain, Reading, fits_in_memory, in_chains, with_runs
from .reuse import hold, reusing
from .threads import spare_threads
from .waiting import Stream, Waiting

if TYPE_CHECKING:
    from distributed import Future

# Reports that the client takes in itself, if the threads are few. More chunks are merged on
# the workers, where the first estimate waits for the first of so many blocks.
_FEW_BLOCKS = 32
_BLOCKS_PER_THREAD = 4
# Values of raw rows that an update is worth its messages for: milliseconds, as they cost. Chunks of
# fewer are as well on another worker.
_BLOCK_ITEMS = 2**21
# Bytes of statistics that may travel to the client in one fit.
_HOME_BYTES = 2**29
# Seconds that an onlooker waits for the scheduler.
_PATIENCE = 1.0


class OnCluster:
    """A `Place`: blocks of chunks of dask arrays; tasks run on a Client's workers.

    Parameters
    ----------
    waiting : Waiting
    rows : Joined
    n_blocks : int or "auto"
    """

    def __init__(self, waiting: Waiting, rows: Joined, n_blocks: int | str = "auto") -> None:
        self._waiting, self._client = waiting, waiting.client
        self.deadline = waiting.deadline
        self._joined = rows
        self._futures = self._waiting.futures
        self._reading: Reading | None = None  # the rows as passes read them
        self._in_columns = rows.in_column_chunks(waiting)  # the same, in chunks of columns too
        self._advised = False
        # Passes that were begun, and the keys of the tasks that read the chunks now.
        self._n_begun = 0
        self._tasks: list = []
        self._inner: OnCluster | None = None  # of some of the rows, which is at work
        # future -> (key of its data, worker, the worker that lagged)
        self._offers: dict[Future, tuple] = {}
        # key of a block's data -> the worker that took the block over
        self._home: dict[Any, str] = {}
        self._slow: set[str] = set()  # workers that a block was taken from
        self.dtype = np.dtype(np.float32 if rows.dtype == np.float32 else np.float64)
        self.y_ndim, self.n_targets = rows.y_ndim, rows.n_targets
        threads = self._waiting.ask("ncores")
        check_package(self._waiting, threads)
        self.n_threads = max(1, sum(threads.values()))
        self.n_spare = spare_threads(is_limited=True)  # by `client_for_fit`
        self.n_rows = rows.n_rows  # NaN for chunks of unknown size
        self.n_features = rows.n_features
        self._n_blocks = n_blocks
        self._set_edges(_auto_blocks(rows.n_features, self.n_threads))

    def _set_edges(self, auto):
        """Share the chunks out among `n_blocks` blocks, or `auto` where it is "auto"."""
        n_chunks = self._joined.n_chunks
        n_blocks = auto if self._n_blocks == "auto" else self._n_blocks
        n_blocks = max(1, min(n_blocks, n_chunks))
        self._edges = np.linspace(0, n_chunks, n_blocks + 1).astype(int)
        self._order = list(range(n_chunks))  # in which the blocks' chunks are merged

    def __enter__(self) -> OnCluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self._waiting.release_all()

    def load_statistics(
        self, partition: Partition | None = None, few_blocks: bool = False
    ) -> list[Future]:
        if few_blocks:
            self._set_edges(max(8, _BLOCKS_PER_THREAD * self.n_threads))
        if partition is not None and np.isnan(self.n_rows):
            return self._load_cells_of_unknown(partition)
        futures = self._statistics(labels=_labels(partition, self._joined.sizes))
        hold(futures)
        return futures

    def _load_cells_of_unknown(self, partition):
        """`CellStatistics` where only reading a chunk tells how many rows it has.

        All chunks are read first, whole. The few that turn out to hold the boundary of two
        folds are read again, in pieces.
        """
        n_chunks = self._joined.n_chunks
        parts = self._statistics(edges=np.arange(n_chunks + 1))
        sizes = self._waiting.gather([self.submit(_n_rows, part) for part in parts])
        if partition.splits:
            partition = consecutive_folds(sum(sizes), len(partition.splits))
        labels = _labels(partition, sizes)
        again = [chunk for chunk, (runs,) in enumerate(labels) if len(runs) > 1]
        if again:
            found = self._joined.each("statistics", cells_of_chunk, labels).blocks[again]
            blocks = [[number] for number in range(len(again))]
            found = self._waiting.compute(blocks_of(found, blocks, merge_cells))
            for chunk, part in zip(again, found, strict=True):
                parts[chunk] = part
        cells = [int(runs[0, 2]) if len(runs) == 1 else None for (runs,) in labels]
        return [
            self.submit(collect_cells, parts[start:stop], cells[start:stop])
            for start, stop in pairwise(self._edges)
        ]

    def _statistics(self, function=statistics_of_chunk, labels=None, edges=None):
        merge = merge_statistics
        if labels is not None:
            function, merge = cells_of_chunk, merge_cells
        found = self._joined.each("statistics", function, labels)
        blocks = _ranges(self._edges if edges is None else edges)
        # As soon as a chunk has moved, a run is another one and none that is held.
        if not reusing():
            blocks = with_runs(self._waiting, self._joined, blocks)
        self._order = [
            chunk
            for block in blocks
            for part in block
            for chunk in (part.chunks if isinstance(part, Run) else [part])
        ]
        futures = self._waiting.compute(blocks_of(found, blocks, merge))
        self._begin_pass(key_of(found, part) for block in blocks for part in block)
        return futures

    def _begin_pass(self, tasks):
        self._tasks, self._n_begun, self._inner = list(tasks), self._n_begun + 1, None

    def reading(self) -> tuple[int, float]:
        n_begun, tasks = self._n_begun, self._tasks
        if self._inner is not None:
            return n_begun, self._inner.reading()[1]
        # A scheduler that does not answer soon has other things to do.
        soon = time.perf_counter() + _PATIENCE
        states = self._waiting.ask("get_task_status", keys=tasks, deadline=soon)
        n_done = sum(states.get(task) in ("memory", "released") for task in tasks)
        return n_begun, n_done / max(1, len(tasks))

    def load_rows(
        self, ones: bool, summarise: Callable, *args: Any, few_blocks: bool = False
    ) -> tuple[list[Future], list[Future]]:
        # A block is one chunk unless `n_blocks` says otherwise, for chunks of much are not moved.
        auto = self._joined.n_chunks
        if few_blocks and np.isfinite(self.n_rows):
            items = max(1, self.n_rows * self.n_features)
            auto = max(2 * self.n_threads, auto // max(1, int(_BLOCK_ITEMS * auto // items)))
        self._set_edges(auto)
        found = self._joined.each("rows", partial(_as_block, ones=ones))
        blocks = _ranges(self._edges)
        blocks = blocks_of(found, blocks, _as_one_block, self._joined.n_chunks)
        rows = self._waiting.compute(blocks)
        self._begin_pass(flatten(found.__dask_keys__()))
        return rows, [self.submit(summarise, block, *args) for block in rows]

    def locate(self, block: int, defect: Defect) -> str:
        # Rows and chunks are counted in the order in which the block's are merged.
        first, place = self._edges[block], self._edges[block] + defect.chunk
        chunk, sizes = self._order[place], np.array(self._joined.sizes)
        row = defect.row - sizes[self._order[first:place]].sum() + sizes[:chunk].sum()
        return f"in chunk {chunk}" if np.isnan(row) else f"row {int(row)} (chunk {chunk})"

    def merged_statistics(self, function: Callable | None = None) -> Statistics:
        reports = self.load_statistics() if function is None else self._statistics(function)
        return merge_statistics(self._waiting.gather(reports))

    def of_columns(self, columns: np.ndarray) -> OnCluster:
        waiting = Waiting(self._client, self.deadline)
        if self._in_columns is not None:
            rows = self._parts.rows.of_columns(columns, waiting)
        else:
            rows = self._joined if self._reading is None else self._reading.rows
            rows = rows.with_features(len(columns), _columns_of, columns)
        self._inner = OnCluster(waiting, rows, self._n_blocks)
        return self._inner

    @cached_property
    def _parts(self):
        """The chunks of columns as passes read them."""
        return Reading(self._waiting, self._in_columns)

    def reduce(
        self,
        task: Callable,
        merge: Callable,
        *args: Any,
        in_order: bool = False,
        partition: Partition | None = None,
    ) -> Any:
        needs = self._needs_of(task, args)
        if needs is None:
            return self._reduce(task, merge, args, in_order, partition)
        how: dict[str, Any] = dict(in_order=in_order, partition=partition)
        if needs.columns is not None and needs.rows is None:
            with self.of_columns(needs.columns) as place:
                return place.reduce(task, merge, *_args_of(needs), **how)
        return self._by_columns(needs, merge, **how)

    def _needs_of(self, task, args) -> Needs | None:
        """What a task needs of rows that are not to be put together; None where they may be."""
        return None if self._in_columns is None else needs_of(task, args)

    def _by_columns(self, needs, merge, in_order, partition):
        """A pass over some columns, and one over all by themselves, with what that has found."""
        found: Any = None
        beside: list = [[(0, Targets())]]
        if needs.columns is not None:
            with self.of_columns(needs.columns) as place:
                args = placed_rows, partial(merge_placed, merge=merge), needs.rows, _args_of(needs)
                found, beside = place.reduce(*args, in_order=in_order, partition=Placed(partition))
        every = Every(beside)
        if every.is_empty:
            return found
        corners = self._in_columns.corners()
        of_columns = self._read(self._parts, corners, every_column, merge_every, *every.args)
        return needs.join(found, every.results(of_columns))

    def _reduce(self, task, merge, args, in_order=False, partition=None, at_once=1):
        if self._reading is None:
            self._reading = Reading(self._waiting, self._joined)
        labels = _labels(partition, self._joined.sizes)
        how = dict(in_order=in_order, at_once=at_once)
        return self._read(self._reading, labels, task, merge, *args, **how)

    def _read(self, reading, labels, task, merge, *args, in_order=False, at_once=1):
        """A pass over the rows of a reading."""
        held, n_chunks = reading.held(), reading.rows.n_chunks
        if reading.tasks and held is None:
            self._advise_to_persist()
        # The order of the fewest transfers is that of the workers that have the chunks.
        if in_order:
            chains = [Chain([[chunk] for chunk in range(n_chunks)], None)]
        else:
            room = np.inf if held is None else reading.room
            chains = in_chains(self._waiting, n_chunks, held, room, at_once)
        futures = self._waiting.compute(reading.reduction(labels, chains, task, merge, args))
        self._begin_pass(reading.tasks)
        return reading.merged(self._waiting.gather(futures), merge, labels is not None)

    def sample(self, task: Callable, merge: Callable, *args: Any, share: float, enough: int) -> Any:
        needs = self._needs_of(task, args)
        if needs is not None and needs.columns is not None:
            with self.of_columns(needs.columns) as place:
                args = _args_of(needs)
                return place.sample(task, merge, *args, share=share, enough=enough)
        # Some chunks from all over the rows, each to be looked at in part.
        if self._reading is None:
            self._reading = Reading(self._waiting, self._joined)
        rows = self._reading.rows
        mean = rows.n_rows / rows.n_chunks
        of_task = math.ceil(enough / mean) if mean > 0 else 1  # NaN where nobody knows
        # At least as many for each thread, which takes no longer than one.
        count = max(of_task * self.n_threads, round(share * rows.n_chunks))
        count = min(rows.n_chunks, count)
        some = rows.of_chunks(np.linspace(0, rows.n_chunks - 1, count).round().astype(int))
        with OnCluster(Waiting(self._client, self.deadline), some, self._n_blocks) as place:
            self._inner = place
            share = min(1.0, share * rows.n_chunks / count)
            return place._reduce(task, merge, (*args, share), at_once=of_task)

    def _advise_to_persist(self):
        rows = self._joined
        if not self._advised and fits_in_memory(self._waiting, rows):
            warn(
                f"fit reads the rows of X ({rows.n_features} columns) several times, and X is not"
                " in the workers' memory: it is computed again each time. If it fits there, call"
                " X = X.persist() before fit.",
                UserWarning,
            )
        self._advised = True

    def submit(self, task: Callable, *args: Any) -> Future:
        # Where another worker has taken over the data that is the first argument, it runs there.
        home = self._home.get(getattr(args[0], "key", None))
        return self._submit(task, args, home, strict=False)

    def _submit(self, task, args, worker, strict):
        function = getattr(task, "func", task)  # of a partial
        name = function.__name__.strip("_").replace("_", "-")
        future = self._client.submit(
            task,
            *args,
            key=f"lasso-{name}-{uuid4().hex}",  # what the dashboard shows, a colour each
            pure=False,
            priority=10,
            retries=retries(),
            workers=worker,
            allow_other_workers=worker is not None and not strict,
        )
        self._futures.add(future)
        return future

    def offer(self, calls: dict[Future, tuple]) -> dict[Future, Future]:
        if "workers" in dask.get_annotations():
            return {}  # the user knows better
        processing = self._waiting.ask("processing")  # a round trip, of the size of all in flight
        working_on = {key: worker for worker, keys in processing.items() for key in keys}
        load = {worker: len(keys) for worker, keys in processing.items()}
        others = {}
        for future, (task, *args) in calls.items():
            slow = working_on.get(future.key)
            spare = [worker for worker in load if worker != slow and worker not in self._slow]
            if slow is None or not spare:
                continue
            worker = min(spare, key=load.__getitem__)
            load[worker] += 1
            others[future] = other = self._submit(task, args, worker, strict=True)
            self._offers[other] = (args[0].key, worker, slow)
        return others

    def prefer(self, winner: Future, loser: Future) -> None:
        if winner in self._offers:
            key, worker, slow = self._offers[winner]
            self._home[key] = worker
            self._slow.add(slow)

    def release(self, future: Future) -> None:
        self._offers.pop(future, None)
        self._waiting.release(future)

    def as_completed(self, futures: Iterable[Future]) -> Stream:
        return Stream(self._waiting, futures)


def _ranges(edges):
    return [range(start, stop) for start, stop in pairwise(map(int, edges))]


def _labels(partition, sizes):
    """Of each chunk, its part of a `Partition`, if there is one."""
    if partition is None:
        return None
    return [partition.between(start, stop) for start, stop in pairwise(np.r_[0, np.cumsum(sizes)])]


def _auto_blocks(n_features, n_threads):
    home = max(1, _HOME_BYTES // (8 * max(1, n_features) ** 2))
    return min(max(_FEW_BLOCKS, _BLOCKS_PER_THREAD * n_threads), home)


def _args_of(needs):
    """The arguments of a task on rows of the columns alone that it needs together."""
    return needs.args(np.arange(len(needs.columns)))


def _columns_of(chunk, columns):
    return take_columns(chunk.X, columns)


def _n_rows(statistics):
    return statistics.n_rows


def _as_block(chunk, ones):
    return [raw_rows(chunk, ones=ones)]


def _as_one_block(blocks):
    return [rows for block in blocks for rows in block]


def fetch(waiting: Waiting, collections: Sequence) -> list:
    """Dask collections, computed and in this process."""
    futures = []
    for collection in collections:
        is_frame = hasattr(collection, "expr")
        ready = collection if is_frame else optimised(collection)
        futures += waiting.compute([ready], optimize_graph=is_frame)
    try:
        return waiting.gather(futures)
    finally:
        waiting.release_all()
