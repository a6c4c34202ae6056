"""What solvers and engines know of the place where the rows of a fit are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from ..rows.cells import Partition
from ..rows.chunk import Defect
from ..rows.statistics import Statistics

# What a place makes of a task, and takes as an argument of another.
Future = Any


class Results(Protocol):
    """Futures in the order in which they finish."""

    def add(self, future: Future) -> None: ...
    def next(self, deadline: float, one: bool) -> list[tuple[Future, Any]]: ...


class Place(Protocol):
    """Where the rows of a fit are, in blocks, and what carries tasks there.

    Tasks have futures, which are arguments of further tasks. All that was started ends with
    the place, which is a context.

    Attributes
    ----------
    dtype : dtype
        Of coefficients: float32 or float64.
    n_rows : float
        NaN where only reading the rows tells.
    n_threads, n_spare : int
        That take tasks; of this process, for what is solved here.
    deadline : float
        Of `time.perf_counter`, at which all that waits here raises `TimeIsUp`.

    Notes
    -----
    `load_statistics` is one future of `Statistics` for each block, of `CellStatistics` with a
    `Partition`; with `few_blocks`, a handful for each thread. `load_rows` is futures of the raw
    rows of each block, perhaps with a column of `ones`, and of ``summarise(rows, *args)``; with
    `few_blocks` small chunks are joined.

    `reduce` is ``merge`` of ``task(chunks, *args)`` over parts of the rows, which are read once;
    `in_order` of the rows if need be. With a `Partition`, each chunk comes with the labels of its
    rows. `sample` is the same of some chunks, and ``task(chunks, *args, share)``, which is to look
    at that share of their rows, and is given `enough` rows if there are. `merged_statistics` are of
    all rows, or of what ``function(chunk)`` makes of each chunk. `of_columns` is a place of the
    same rows, with these columns alone, and `locate` says where a defect of a block is, in the
    user's terms.

    `reading` is how far the rows have been read, for whoever looks on from another thread: the
    number of passes that were begun, zero while a sample is read, and which share is done.

    `submit` runs a task before any chunk that waits to be read, where its first argument is.
    `offer` runs tasks a second time elsewhere: `calls` has the task and the arguments of each
    future; so has what is returned the other future, if there is any. `prefer` keeps a block
    where the `winner` was, the one that had been offered.
    """

    dtype: np.dtype
    y_ndim: int
    n_targets: int
    n_rows: float
    n_features: int
    n_threads: int
    n_spare: int
    deadline: float

    def __enter__(self) -> Place: ...
    def __exit__(self, *exc: object) -> None: ...
    def load_statistics(
        self, partition: Partition | None = None, few_blocks: bool = False
    ) -> list[Future]: ...
    def load_rows(
        self, ones: bool, summarise: Callable, *args: Any, few_blocks: bool = False
    ) -> tuple[list[Future], list[Future]]: ...
    def reduce(
        self,
        task: Callable,
        merge: Callable,
        *args: Any,
        in_order: bool = False,
        partition: Partition | None = None,
    ) -> Any: ...
    def sample(
        self, task: Callable, merge: Callable, *args: Any, share: float, enough: int
    ) -> Any: ...
    def of_columns(self, columns: np.ndarray) -> Place: ...
    def merged_statistics(self, function: Callable | None = None) -> Statistics: ...
    def reading(self) -> tuple[int, float]: ...
    def locate(self, block: int, defect: Defect) -> str: ...
    def submit(self, task: Callable, *args: Any) -> Future: ...
    def offer(self, calls: dict[Future, tuple]) -> dict[Future, Future]: ...
    def prefer(self, winner: Future, loser: Future) -> None: ...
    def release(self, future: Future) -> None: ...
    def as_completed(self, futures: Iterable[Future]) -> Results: ...


def usable(statistics: Statistics, place: Place) -> Statistics:
    """The same, of all rows of a place, if these can be fitted or scored."""
    defect = statistics.defect
    if defect is not None:
        raise ValueError(f"Input {defect.argument} {defect.problem}, {place.locate(0, defect)}.")
    if statistics.n_rows == 0:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required: no chunk of X has"
            " a row."
        )
    if statistics.weight == 0:
        raise ValueError("sample_weight is zero for every row: give some row a positive weight.")
    return statistics


def usable_pass(place: Place, task: Callable, merge: Callable, *args: Any) -> Any:
    """What a pass finds, as `Place.reduce`, if the rows can be fitted or scored."""
    found = place.reduce(task, merge, *args)
    if found.defect is not None:
        # Where a defect is can be told only of rows that are merged in their order.
        found = place.reduce(task, merge, *args, in_order=True)
    return usable(found, place)
