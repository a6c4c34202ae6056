"""Displays draw what the fitted attributes say."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncLassoCV,
    AsyncLassoRegressor,
    ConvergenceDisplay,
    CVDisplay,
    PathDisplay,
    lasso_path,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

FRAME = load_diabetes(as_frame=True)
X, y = FRAME.data.to_numpy(), FRAME.target.to_numpy()


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_path_of_an_estimator():
    model = AsyncLassoCV().fit(FRAME.data, y)
    display = PathDisplay.from_estimator(model, alphas=model.alphas_, color="k")
    alphas, coefs, _ = lasso_path(X, y, alphas=model.alphas_, fit_intercept=True)
    assert len(display.lines_) == 10
    for line, coef, name in zip(display.lines_, coefs, FRAME.feature_names, strict=True):
        np.testing.assert_allclose(line.get_xdata(), alphas)
        np.testing.assert_allclose(line.get_ydata(), coef, rtol=1e-8, atol=1e-8)
        assert line.get_label() == name
        assert line.get_color() == "k"
    assert display.ax_.get_xscale() == "log"
    chosen = display.ax_.lines[-1]
    assert list(chosen.get_xdata()) == [model.alpha_] * 2


def test_path_of_one_target_only():
    model = AsyncLassoRegressor().fit(X, np.column_stack([y, -y]))
    with pytest.raises(ValueError, match="one target"):
        PathDisplay.from_estimator(model)


def test_cv_curve_with_standard_errors():
    model = AsyncLassoCV(cv=4).fit(X, y)
    display = CVDisplay.from_estimator(model)
    line, _, (bars,) = display.errorbar_
    np.testing.assert_allclose(line.get_ydata(), model.mse_path_.mean(axis=1))
    half = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
    np.testing.assert_allclose(half, model.mse_path_.std(axis=1, ddof=1) / 2)


def test_cv_curve_of_the_chosen_l1_ratio():
    model = AsyncElasticNetCV(l1_ratio=[0.5, 0.9, 1.0], cv=3).fit(X, y)
    display = CVDisplay.from_estimator(model)
    chosen = [0.5, 0.9, 1.0].index(model.l1_ratio_)
    line = display.errorbar_[0]
    np.testing.assert_allclose(line.get_ydata(), model.mse_path_[chosen].mean(axis=1))
    np.testing.assert_allclose(line.get_xdata(), model.alphas_[chosen])


def test_convergence_of_two_engines_on_the_same_axes():
    first = AsyncLassoRegressor(polish=False, n_blocks=4).fit(X, y)
    second = AsyncLassoRegressor(polish=False, n_blocks=4, engine="sync").fit(X, y)
    display = ConvergenceDisplay.from_estimator(first, x="n_updates")
    other = ConvergenceDisplay.from_estimator(second, x="n_updates", ax=display.ax_)
    assert other.figure_ is display.figure_
    known = np.isfinite(first.history_["objective"])
    np.testing.assert_array_equal(display.line_.get_ydata(), first.history_["objective"][known])
    assert [t.get_text() for t in display.ax_.get_legend().get_texts()] == ["batched", "sync"]
    with pytest.raises(ValueError, match="no 'loss'"):
        ConvergenceDisplay.from_estimator(first, y="loss")


@pytest.mark.parametrize(
    ("display", "estimator"),
    [
        (PathDisplay, AsyncLassoRegressor()),
        (CVDisplay, AsyncLassoCV()),
        (ConvergenceDisplay, AsyncLassoRegressor()),
    ],
)
def test_unfitted(display, estimator):
    with pytest.raises(NotFittedError):
        display.from_estimator(estimator)


def test_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"dask_lasso\[plot\]"):
        PathDisplay([1.0], [[0.0]]).plot()
