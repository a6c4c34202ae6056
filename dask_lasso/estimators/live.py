"""A page with the objective and the gap of a fit while it goes on."""

from __future__ import annotations

import asyncio
import threading
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils import check_scalar

# Milliseconds after which the page looks for news.
_PERIOD = 250


class LiveView:
    """A callback of scikit-learn (1.9 and later) that serves a page of the fit, by Bokeh.

    The page, at `url`, has the objective and the duality gap over time, and the rows that were
    read. It stays until `close`, or the end of the context.

    Parameters
    ----------
    port : int, default=0
        Of this machine; 0 is any that is free.

    Attributes
    ----------
    url : str

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from dask_lasso import AsyncLassoRegressor, LiveView
    >>> with LiveView() as view:  # doctest: +SKIP
    ...     print(view.url)
    ...     model = AsyncLassoRegressor(0.1).set_callbacks(view)
    ...     model.fit(*load_diabetes(return_X_y=True))
    """

    def __init__(self, port: int = 0) -> None:
        try:
            from bokeh.server.server import Server
        except ImportError as error:
            raise ImportError("LiveView needs Bokeh: pip install bokeh.") from error
        check_scalar(port, "port", Integral, min_val=0, max_val=65535)
        self._columns: dict[str, list] = {"time": [], "objective": [], "gap": [], "rows": []}
        started = threading.Event()
        failed: list[Any] = []

        def serve():
            asyncio.set_event_loop(asyncio.new_event_loop())
            try:
                self._server = Server({"/": self._page}, port=port, address="localhost")
            except Exception as error:
                failed.append(error)
                started.set()
                return
            self._server.start()
            self.url = f"http://localhost:{self._server.port}"
            started.set()
            self._server.io_loop.start()
            self._server.stop()

        self._thread = threading.Thread(target=serve, daemon=True, name="dask-lasso-live")
        self._thread.start()
        if not started.wait(30) or failed:
            message = f"LiveView could not open port {port}: pass one that is free."
            raise RuntimeError(message) from (failed or [None])[0]

    def close(self) -> None:
        """Take the page away."""
        if self._thread.is_alive():
            self._server.io_loop.add_callback(self._server.io_loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- what scikit-learn calls

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a fit."""
        for column in self._columns.values():
            column.clear()

    def teardown(self, estimator: Any, context: Any) -> None:
        """End a fit: the page stays."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing is known yet."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Add an estimate."""
        if context.task_name != "estimate" or fitted_estimator is None:
            return
        last = {name: column[-1] for name, column in fitted_estimator.history_.items()}
        self._columns["time"].append(float(last["time"]))
        self._columns["objective"].append(float(last["objective"]))
        self._columns["gap"].append(float(np.max(fitted_estimator.dual_gap_)))
        self._columns["rows"].append(int(last["samples_seen"]))

    def _page(self, document):
        from bokeh.layouts import column
        from bokeh.models import ColumnDataSource, Div
        from bokeh.plotting import figure

        source = ColumnDataSource({name: list(c) for name, c in self._columns.items()}, name="fit")
        said = Div(text="Waiting for an estimate.", name="said")
        plots = []
        for name, title, scale in (
            ("objective", "Objective", "linear"),
            ("gap", "Duality gap", "log"),
        ):
            plot = figure(
                title=title, height=260, width=700, y_axis_type=scale, x_axis_label="seconds"
            )
            plot.line("time", name, source=source, line_width=2)
            plot.scatter("time", name, source=source, size=5)
            plots.append(plot)

        def renew():
            n = min(map(len, self._columns.values()))
            if n != len(source.data["time"]):
                source.data = {name: c[:n] for name, c in self._columns.items()}
                rows, gap = self._columns["rows"][n - 1], self._columns["gap"][n - 1]
                said.text = f"{rows} rows read, estimate {n}, duality gap {gap:.2e}"

        document.title = "dask_lasso"
        document.add_root(column(said, *plots))
        document.add_periodic_callback(renew, _PERIOD)
