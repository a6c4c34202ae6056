"""How far a fit is: what is printed while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from types import TracebackType
from typing import Any

import numpy as np

from ..engines.record import Estimate
from ..places.input import Given, open_rows
from ..places.place import Place

# Seconds between two looks at the rows: of a bar; of lines at first, and at most.
_OF_BAR, _FIRST, _LAST = 0.25, 1.0, 10.0


class Progress:
    """What `verbose` asks for: nothing, lines, or from 2 on a bar, in a context.

    The bar is rich's, in terminals and in notebooks; without rich there are lines.

    Parameters
    ----------
    verbose : int
    name : str
        Of what goes on.
    """

    def __init__(self, verbose: int, name: str) -> None:
        self._verbose, self._name = verbose, name
        self._began = time.perf_counter()
        self._bar: Any = None
        self._has_told = False

    def __enter__(self) -> Progress:
        if self._verbose >= 2:
            self._bar = _bar()
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=1.0, rows="opening", state="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.refresh()  # which rich leaves out at the end, in notebooks
            self._bar.stop()

    @contextmanager
    def watching(self, place: Place) -> Iterator[None]:
        """Say what has been opened, and then again and again how much of it has been read."""
        n_rows = "an unknown number of" if np.isnan(place.n_rows) else f"{place.n_rows:.0f}"
        said = f"{n_rows} rows, {place.n_features} columns, {place.n_threads} threads"
        if self._bar is None:
            self._print(f"{self._seconds():8.2f} s, begins with {said}")
        else:
            self._bar.update(self._task, rows="reading")
        has_ended = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(place, has_ended), name="dask-lasso-progress", daemon=True
        )
        thread.start()
        try:
            yield
            if self._bar is not None:
                n_rows = "all" if np.isnan(place.n_rows) else f"{place.n_rows:.0f}"
                rows = {} if self._has_told else {"rows": f"{n_rows} rows"}
                self._bar.update(self._task, completed=1.0, **rows)
        finally:
            has_ended.set()
            thread.join()

    def _watch(self, place, has_ended):
        wait, before = _FIRST if self._bar is None else _OF_BAR, None
        while not has_ended.wait(wait):
            try:
                n_passes, share = place.reading()
            except Exception:  # whatever became of the cluster, the fit itself tells
                continue
            if has_ended.is_set() or (n_passes, share) in (before, (0, 0.0)):
                continue
            before = n_passes, share
            what = f"pass {n_passes}" if n_passes else "a sample"
            if self._bar is not None:
                is_known = n_passes and not np.isnan(place.n_rows)
                rows = f", {share * place.n_rows:.0f} rows" if is_known else ""
                self._bar.update(self._task, completed=share, rows=what + rows)
                continue
            wait = min(2 * wait, _LAST)
            self._print(f"{self._seconds():8.2f} s, {what}, {share:.0%} of the rows read")

    def tell(self, row: Mapping[str, Any], estimate: Estimate) -> None:
        """Show a row of the history."""
        if not self._verbose:
            return
        self._has_told = True
        # So long that a bar, too, and its time fit a terminal of 80 columns.
        state = f"objective {row['objective']:.5g}, dual gap {np.max(estimate.gap):.1e}"
        if self._bar is not None:
            self._bar.update(self._task, rows=f"{row['samples_seen']} rows", state=state)
            return
        done = f"{row['samples_seen']} rows, {row['n_updates']} updates"
        self._print(f"{row['time']:8.2f} s, {done}, {state}")

    def _seconds(self):
        return time.perf_counter() - self._began

    def _print(self, line):
        print(f"{self._name}: {line}", flush=True)


@contextmanager
def opened(
    estimator: Any, given: Given, *, what: str, **options: Any
) -> Iterator[tuple[Place, Progress]]:
    """The place of some rows, as `open_rows`, and the progress that its estimator shows."""
    with (
        Progress(int(estimator.verbose), what) as progress,
        open_rows(estimator, given, client=estimator.client, **options) as place,
        progress.watching(place) if estimator.verbose else nullcontext(),
    ):
        yield place, progress


def _bar():
    """A bar of rich, or None where it cannot be shown."""
    try:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]}"),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    # Without widgets rich shows nothing there but that it lacks them.
    return None if bar.console.is_jupyter and find_spec("ipywidgets") is None else bar
