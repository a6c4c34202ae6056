"""A fitted model elsewhere: in scikit-learn, in ONNX, in a small file, without Dask."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
)
from dask_lasso.penalties import GroupLasso

FRAME = load_diabetes(as_frame=True, scaled=False)
X, y = (FRAME.data - FRAME.data.mean()) / FRAME.data.std(), FRAME.target.rename("progress")
HIGH = np.where(y > 140, "high", "low")
TWO = pd.DataFrame({"up": y, "down": -y})


class Cloglog:
    """A mean that scikit-learn has no model of."""

    def value(self, eta, y):
        return (y - eta) ** 2 / 2

    def derivative(self, eta, y):
        return eta - y

    def curvature(self, eta, y):
        return np.ones_like(eta)

    def inverse_link(self, eta):
        return np.sinh(eta)


Lasso = partial(AsyncLassoRegressor, 0.5)
# estimator, y, class of scikit-learn, whether it has the same problem
FITS = {
    "lasso": (Lasso(), y, linear_model.Lasso, True),
    "positive": (Lasso(positive=True), y, linear_model.Lasso, True),
    "no intercept": (Lasso(fit_intercept=False), y, linear_model.Lasso, True),
    "targets": (Lasso(), TWO, linear_model.Lasso, True),
    "elastic net": (AsyncElasticNetRegressor(0.5), y, linear_model.ElasticNet, True),
    "cv": (AsyncLassoCV(cv=3, alphas=20), y, linear_model.Lasso, True),
    "elastic net cv": (AsyncElasticNetCV(cv=3, alphas=9), y, linear_model.ElasticNet, True),
    "huber": (Lasso(loss="huber", huber_delta=50.0), y, linear_model.LinearRegression, False),
    "weights": (Lasso(penalty_weights=range(10)), y, linear_model.LinearRegression, False),
    "poisson": (Lasso(loss="poisson"), y, linear_model.PoissonRegressor, False),
    "ridge": (
        AsyncElasticNetRegressor(0.5, l1_ratio=0, loss="gamma"),
        y,
        linear_model.GammaRegressor,
        True,
    ),
    "tweedie": (Lasso(loss="tweedie"), y, linear_model.TweedieRegressor, False),
    "logistic": (AsyncLogisticRegression(0.01), HIGH, linear_model.LogisticRegression, True),
    "standardize": (Lasso(standardize=True), y, linear_model.LinearRegression, False),
    "bounds": (Lasso(bounds=(-10.0, 10.0)), y, linear_model.LinearRegression, False),
    "adaptive": (Lasso(penalty_weights="adaptive"), y, linear_model.LinearRegression, False),
    "group": (Lasso(penalty=GroupLasso([0, 1] * 5)), y, linear_model.LinearRegression, False),
    "logistic, bounds": (
        AsyncLogisticRegression(0.01, bounds=(0.0, 0.1), standardize=True),
        HIGH,
        linear_model.LogisticRegression,
        False,
    ),
    "logistic, several": (
        AsyncLogisticRegression(0.01),
        np.digitize(y, [100, 200]),
        linear_model.LogisticRegression,
        True,
    ),
    "logistic net": (
        AsyncLogisticRegression(0.01, l1_ratio=0.5),
        HIGH,
        linear_model.LogisticRegression,
        True,
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_plain_estimators_are_the_same_model(name):
    ours, target, kind, is_same_problem = FITS[name]
    ours = ours.fit(X, target)
    plain = ours.to_sklearn()
    assert type(plain) is kind
    np.testing.assert_array_equal(plain.coef_, ours.coef_)
    np.testing.assert_array_equal(plain.predict(X), ours.predict(X))
    assert plain.feature_names_in_.tolist() == list(X)
    if name.startswith("logistic"):
        np.testing.assert_allclose(plain.predict_proba(X), ours.predict_proba(X), rtol=1e-12)
    if not is_same_problem:  # nor a hint of it: what is fitted again is plainly something else
        assert getattr(plain, "C", 1.0) == 1.0
    else:
        again = plain.set_params(tol=1e-10, max_iter=10_000).fit(X, target)
        scale = np.abs(ours.coef_).max()
        np.testing.assert_allclose(again.coef_, ours.coef_, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["lasso", "poisson", "logistic"])
def test_an_offset_is_no_part_of_a_plain_estimator(name):
    ours, target, *_ = FITS[name]
    ours = clone(ours).fit(X, target, offset=np.linspace(-1, 1, len(X)))
    plain = ours.to_sklearn()
    np.testing.assert_array_equal(plain.predict(X), ours.predict(X))


def test_what_has_no_plain_estimator():
    with pytest.raises(ValueError, match="no linear model of the loss Cloglog"):
        Lasso(loss=Cloglog()).fit(X, y).to_sklearn()
    for method in ("to_sklearn", "coefficients"):
        with pytest.raises(NotFittedError):
            getattr(Lasso(), method)()


@pytest.mark.parametrize("name", ["lasso", "poisson", "logistic"])
def test_onnx(name):
    reason = "skl2onnx and onnxruntime are no dependency of the package"
    skl2onnx = pytest.importorskip("skl2onnx", reason=reason)
    onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
    ours, target, *_ = FITS[name]
    rows = X.to_numpy(dtype=np.float32)
    ours = ours.fit(rows, target)
    try:
        made = skl2onnx.to_onnx(ours.to_sklearn(), rows[:1])
    except skl2onnx.common.exceptions.MissingShapeCalculator as error:
        pytest.skip(f"skl2onnx converts no {type(ours.to_sklearn()).__name__}: {error}"[:80])
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found = session.run(None, {session.get_inputs()[0].name: rows})[0]
    expected = ours.predict(rows)
    if name == "logistic":
        assert (np.ravel(found) == expected).mean() > 0.99  # float32 at the boundary
    else:
        np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-4)


def test_coefficients_have_names():
    model = Lasso().fit(X, y)
    found = model.coefficients()
    assert found.index.tolist() == list(X)
    np.testing.assert_array_equal(found, model.coef_)
    pd.testing.assert_frame_equal(
        Lasso().fit(X, TWO).coefficients(),
        pd.DataFrame({name: found * sign for name, sign in (("up", 1), ("down", -1))}),
        check_exact=False,
    )
    assert Lasso().fit(X.to_numpy(), y).coefficients().index.tolist() == [
        f"x{i}" for i in range(10)
    ]
    assert AsyncLogisticRegression().fit(X, HIGH).coefficients().shape == (10,)


def test_coefficients_without_pandas(monkeypatch):
    model = Lasso().fit(X, y)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"coefficients\(\) returns .* pip install pandas"):
        model.coefficients()


def test_a_pickle_is_small_and_save_writes_it_all(tmp_path):
    rows = np.random.default_rng(0).normal(size=(400, 300))
    model = AsyncLassoRegressor(0.1).fit(rows, rows[:, 0])
    assert model.statistics_["sxx"].nbytes > 700_000
    dumped = pickle.dumps(model)
    assert len(dumped) < 10_000
    light = pickle.loads(dumped)
    np.testing.assert_array_equal(light.predict(rows), model.predict(rows))
    with pytest.raises(ValueError, match=r"kept no statistics .* `save` writes them"):
        light.partial_fit(rows, rows[:, 0])
    with pytest.raises(AttributeError, match="`save` writes them"):
        _ = light.train_score_
    assert hasattr(model, "statistics_")

    model.save(tmp_path / "model.joblib")
    whole = joblib.load(tmp_path / "model.joblib")
    assert whole.train_score_ == model.train_score_
    assert whole.partial_fit(rows, rows[:, 0]).n_samples_seen_ == 800
    # What goes on with its statistics keeps them.
    assert pickle.loads(pickle.dumps(whole)).partial_fit(rows, rows[:, 0]).n_samples_seen_ == 1200


def test_a_pickle_is_read_without_a_cluster(tmp_path):
    model = Lasso().fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    script = (
        "import sys, joblib, numpy as np\n"
        f"model = joblib.load({str(tmp_path / 'model.joblib')!r})\n"
        f"print(model.predict(np.zeros((1, 10)))[0] == model.intercept_)\n"
        "print(any(name in sys.modules for name in ('distributed', 'dask.array')))\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["True", "False"]
