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
    CoefficientDisplay,
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


def test_cv_curve_marks_one_standard_error():
    display = CVDisplay.from_estimator(AsyncLassoCV(cv=4).fit(X, y))
    assert display.one_se_alpha_ == AsyncLassoCV(cv=4, rule="1se").fit(X, y).alpha_
    assert list(display.ax_.lines[-1].get_xdata()) == [display.one_se_alpha_] * 2


@pytest.mark.parametrize("level", [None, 0.9])
def test_coefficients_are_sorted_and_named(level):
    model = AsyncLassoRegressor(0.1).fit(FRAME.data, y)
    display = CoefficientDisplay.from_estimator(model, level=level, most=4)
    table = model.inference(0.9)
    values = table.coefficient if level is None else table.estimate
    expected = values[values.abs().nlargest(4).index].sort_values()
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == expected.index.tolist()
    line, _, bars = display.errorbar_
    np.testing.assert_allclose(line.get_xdata(), expected)
    if level is None:
        assert not bars
    else:
        ends = np.array([segment[:, 0] for segment in bars[0].get_segments()])
        np.testing.assert_allclose(ends, table.loc[expected.index, ["lower", "upper"]])


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
        (CoefficientDisplay, AsyncLassoRegressor()),
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


def fitted(**settings):
    return AsyncLassoRegressor(1.0, **settings).fit(X, y)


WRONG = {
    "coefficients of two targets": (
        lambda: CoefficientDisplay.from_estimator(
            AsyncLassoRegressor().fit(X, np.column_stack([y, y]))
        ),
        "CoefficientDisplay shows one target",
    ),
    "coefficients with too few names": (
        lambda: CoefficientDisplay([1.0, 2.0], ["a"]),
        "coefficients has shape .2,., and there are 1 names",
    ),
    "path of a number of alphas that is none": (
        lambda: PathDisplay.from_estimator(fitted(), alphas=0),
        "'alphas' parameter of PathDisplay.from_estimator",
    ),
    "path of no alphas": (lambda: PathDisplay.from_estimator(fitted(), alphas=[]), "at least one"),
    "path of a wrong eps": (
        lambda: PathDisplay.from_estimator(fitted(), eps=-1),
        "'eps' parameter of PathDisplay.from_estimator",
    ),
    "path without statistics": (
        lambda: PathDisplay.from_estimator(fitted(loss="huber")),
        "no statistics_ to draw a path from",
    ),
    "path of another shape": (
        lambda: PathDisplay([1.0, 2.0], np.ones((3, 3))),
        r"alphas has shape \(2,\) and coefs \(3, 3\)",
    ),
    "path of one dimension": (lambda: PathDisplay([1.0], [2.0]), "coefs"),
    "path with NaN": (lambda: PathDisplay([1.0], [[np.nan]]), "coefs contains NaN"),
    "path at NaN": (lambda: PathDisplay([np.nan], [[1.0]]), "alphas contains NaN"),
    "path at zero": (lambda: PathDisplay([0.0], [[1.0]]), "alphas has no positive value"),
    "path with too few names": (
        lambda: PathDisplay([1.0], [[1.0], [2.0]], feature_names=["a"]),
        "feature_names has 1 names, and coefs 2 rows",
    ),
    "path on something else": (lambda: PathDisplay([1.0], [[1.0]]).plot(3), "ax is a int"),
    "errors without errors": (
        lambda: CVDisplay.from_estimator(fitted()),
        "This AsyncLassoRegressor has no mse_path_.*AsyncLassoCV",
    ),
    "errors of a criterion": (
        lambda: CVDisplay.from_estimator(AsyncLassoCV(criterion="bic").fit(X, y)),
        'no mse_path_.*criterion="cv"',
    ),
    "errors of another shape": (
        lambda: CVDisplay([1.0, 2.0], np.ones((3, 3))),
        r"alphas has shape \(2,\) and mse_path \(3, 3\)",
    ),
    "errors that are NaN": (lambda: CVDisplay([1.0], [[np.nan]]), "mse_path has no value"),
    "history without one": (
        lambda: ConvergenceDisplay.from_estimator(
            AsyncLassoRegressor().fit_statistics(fitted().statistics_)
        ),
        "has no history_.*`fit_statistics`",
    ),
    "history of nothing": (lambda: ConvergenceDisplay(None), "history is a NoneType"),
    "history of two lengths": (
        lambda: ConvergenceDisplay({"time": [1.0, 2.0], "objective": [1.0]}),
        r"history has columns of shapes \(2,\) and \(1,\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_shown(name):
    call, match = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        call()
    assert not isinstance(caught.value, NotFittedError)


def test_folds_that_were_not_read_do_not_count():
    mse = np.array([[1.0, 3.0, np.nan], [2.0, 6.0, np.nan], [np.nan, np.nan, np.nan]])
    display = CVDisplay([3.0, 2.0, 1.0], mse).plot()
    line, _, (bars,) = display.errorbar_
    np.testing.assert_array_equal(line.get_xdata(), [3.0, 2.0])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 4.0])
    half = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
    np.testing.assert_allclose(half, [1.0, 2.0])
    one = CVDisplay([3.0], [[1.0]]).plot()
    assert not one.errorbar_.has_yerr
