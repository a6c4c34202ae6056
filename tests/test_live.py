"""The page of a fit has what callbacks are told."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dask_lasso import AsyncLassoRegressor, LiveView

pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has no callbacks")
pytest.importorskip("bokeh", reason="the page is Bokeh's")

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 6))
y = X[:, 0] + 0.1 * rng.normal(size=400)


def test_the_columns_are_those_of_the_history():
    with LiveView() as view:
        model = AsyncLassoRegressor(0.1, n_blocks=4, engine="async").set_callbacks(view).fit(X, y)
        np.testing.assert_array_equal(view._columns["objective"], model.history_["objective"])
        assert view._columns["rows"][-1] == 400
        assert view.url.startswith("http://localhost:")
    view.close()  # twice does no harm


def test_without_bokeh(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.server.server", None)
    with pytest.raises(ImportError, match="LiveView needs Bokeh"):
        LiveView()
