"""Cross-validation of several targets: an alpha for each, or one for all."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from sklearn.datasets import make_regression

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    lasso_path,
)

X, Y = make_regression(200, 8, n_informative=4, n_targets=3, noise=30, random_state=0)
Y[:, 1] *= 0.01
SETTINGS = dict(cv=3, alphas=12)


@pytest.mark.parametrize("settings", [{}, dict(relaxed=True), dict(criterion="bic")])
def test_each_target_has_its_own(settings, thread_workers):
    settings = {**SETTINGS, **settings}
    chunks = [da.from_array(a, chunks=(50, a.shape[1])) for a in (X, Y)]
    model = AsyncLassoCV(client=thread_workers, **settings).fit(*chunks)
    assert model.n_passes_ == 1
    for target, y in enumerate(Y.T):
        one = AsyncLassoCV(**settings).fit(X, y)
        names = ["coef_", "alphas_", "dual_gap_", "intercept_"]
        names.append("criterion_" if "criterion" in settings else "mse_path_")
        for name in names:
            found = getattr(model, name)[target]
            np.testing.assert_allclose(found, getattr(one, name), rtol=1e-8, atol=1e-9)
        assert model.alpha_[target] == pytest.approx(one.alpha_)
        assert model.degrees_of_freedom_[target] == one.degrees_of_freedom_
    assert model.predict(X).shape == (200, 3)


def test_elastic_nets_have_an_l1_ratio_each():
    model = AsyncElasticNetCV(l1_ratio=[0.3, 0.9], **SETTINGS).fit(X, Y)
    for target, y in enumerate(Y.T):
        one = AsyncElasticNetCV(l1_ratio=[0.3, 0.9], **SETTINGS).fit(X, y)
        assert model.l1_ratio_[target] == one.l1_ratio_
        np.testing.assert_allclose(model.coef_[target], one.coef_, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(model.mse_path_[target], one.mse_path_, rtol=1e-8)
        assert model.degrees_of_freedom_[target] == pytest.approx(one.degrees_of_freedom_)


def test_one_alpha_for_all():
    alphas = np.geomspace(30, 0.03, 10)
    model = AsyncLassoCV(cv=3, alphas=alphas, one_alpha=True).fit(X, Y)
    each = AsyncLassoCV(cv=3, alphas=alphas).fit(X, Y)
    mean = each.mse_path_.mean(axis=(0, 2))
    assert (model.alpha_ == alphas[mean.argmin()]).all()
    expected = AsyncLassoRegressor(model.alpha_[0]).fit(X, Y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-9)
    common = AsyncLassoCV(one_alpha=True, **SETTINGS).fit(X, Y)
    assert (common.alphas_ == common.alphas_[0]).all()
    with pytest.raises(ValueError, match="one_alpha needs"):
        AsyncLassoCV(one_alpha=True, criterion="aic").fit(X, Y)


def test_the_path_of_a_choice():
    model = AsyncLassoCV(**SETTINGS).fit(X, Y[:, 0])
    _, coefs, _ = lasso_path(X, Y[:, 0], alphas=model.alphas_, fit_intercept=True)
    np.testing.assert_allclose(model.coef_path_, coefs, rtol=1e-8, atol=1e-9)
    assert not hasattr(AsyncLassoCV(), "coef_path_")


@pytest.mark.parametrize(
    "settings", [{}, dict(one_alpha=True), dict(l1_ratio=0.5), dict(l1_ratio=[0.3, 0.9])], ids=str
)
def test_the_path_of_several_targets(settings):
    make = AsyncElasticNetCV if "l1_ratio" in settings else AsyncLassoCV
    model = make(**SETTINGS, **settings).fit(X, Y)
    assert model.coef_path_.shape == (3, 8, 12)
    for target, coefs in enumerate(model.coef_path_):
        l1_ratio, alphas = 1.0, model.alphas_[target]
        if "l1_ratio" in settings:
            l1_ratio = model.l1_ratio_[target]
        if alphas.ndim > 1:
            alphas = alphas[settings["l1_ratio"].index(l1_ratio)]
        chosen = coefs[:, alphas == model.alpha_[target]][:, 0]
        np.testing.assert_allclose(chosen, model.coef_[target], rtol=1e-8, atol=1e-9)
        for coef, alpha in zip(coefs.T[::4], alphas[::4], strict=True):
            one = AsyncElasticNetRegressor(alpha, l1_ratio=l1_ratio).fit(X, Y[:, target])
            np.testing.assert_allclose(coef, one.coef_, rtol=1e-7, atol=1e-9)


def test_many_columns_are_of_one_target():
    wide = np.random.default_rng(0).normal(size=(50, 2100))
    with pytest.raises(ValueError, match="3 targets and X 2100 columns"):
        AsyncLassoCV(cv=3).fit(wide, Y[:50])
