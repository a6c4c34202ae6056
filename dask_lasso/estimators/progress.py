"""How far a fit is: what it prints while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np

from ..engines.record import Estimate
from ..places.place import Place


class Progress:
    """What `verbose` asks for: nothing, lines, or from 2 on a bar, in a context.

    The bar is rich's, in terminals and in notebooks; without rich there are lines.

    Parameters
    ----------
    verbose : int
    name : str
        Of the estimator.
    """

    def __init__(self, verbose: int, name: str) -> None:
        self._verbose, self._name = verbose, name
        self._began = time.perf_counter()
        self._bar: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> Progress:
        if self._verbose >= 2:
            self._bar = _bar()
        if self._bar is not None:
            self._stack.enter_context(self._bar)
            self._task = self._bar.add_task(self._name, total=None, rows=0, state="opening")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def begin(self, place: Place) -> None:
        """Say what has been opened, before anything has been read."""
        n_rows = "an unknown number of" if np.isnan(place.n_rows) else f"{place.n_rows:.0f}"
        said = f"{n_rows} rows, {place.n_features} columns, {place.n_threads} threads"
        if self._bar is not None:
            total = None if np.isnan(place.n_rows) else int(place.n_rows)
            self._bar.update(self._task, total=total, state="reading")
        elif self._verbose:
            self._print(f"{time.perf_counter() - self._began:8.2f} s, begins with {said}")

    def tell(self, row: Mapping[str, Any], estimate: Estimate) -> None:
        """Show a row of the history."""
        if not self._verbose:
            return
        state = f"objective {row['objective']:.6g}, dual gap {np.max(estimate.gap):.2e}"
        if self._bar is not None:
            seen = int(row["samples_seen"])
            self._bar.update(self._task, completed=seen, rows=seen, state=state)
            return
        done = f"{row['samples_seen']} rows, {row['n_updates']} updates"
        self._print(f"{row['time']:8.2f} s, {done}, {state}")

    def _print(self, line):
        print(f"AsyncLasso: {line}", flush=True)


def _bar():
    """A bar of rich, or None."""
    try:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
