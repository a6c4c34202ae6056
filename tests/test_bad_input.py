"""Every door: bad input is one error that names the argument, and nothing else changes."""

from __future__ import annotations

import re
import warnings
from functools import partial

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import assert_nothing_left
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Lasso, LinearRegression

from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
    AsyncLogisticRegression,
    AsyncLogisticRegressionCV,
    CoefficientDisplay,
    equivalent_rows,
    lasso_path,
    reuse_statistics,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
y = X @ [1.0, -2.0, 0.0, 0.0] + 0.1 * rng.normal(size=60)
ONES = np.ones(60)
SKLEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))
MANY = rng.normal(size=(40, 2100))
STATISTICS = AsyncLassoRegressor(0.1).fit(X, y).statistics_

PLACES = pytest.mark.parametrize("place", ["numpy", "dask"])


def on(place, values):
    """`values`, or a dask array of them."""
    if place == "numpy" or not isinstance(values, np.ndarray) or values.ndim == 0:
        return values
    return da.from_array(values, chunks=(max(1, min(20, len(values))), *values.shape[1:]))


def put(array, value, *where):
    array = np.array(array)
    array[where] = value
    return array


def fitted_attributes(model):
    return {name: value for name, value in vars(model).items() if name.endswith("_")}


def assert_fails(model, call, match):
    """`call` fails, and what `model` had from an earlier fit is what it has."""
    before = fitted_attributes(model)
    assert "coef_" in before
    with pytest.raises((ValueError, TypeError), match=match):
        call()
    after = fitted_attributes(model)
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())


# -- parameters --------------------------------------------------------------------------


class Nothing:
    """An engine that does nothing."""

    def run(self, run):
        pass


class NoEngine:
    pass


MASKS = np.arange(100) < 50
ROWS = np.arange(30)
LISTS = {  # values of `alphas` that are not a grid, and what is said of them
    "zero": (0, r"'alphas' parameter|alphas"),
    "negative number": (-5, r"'alphas' parameter|alphas"),
    "None": (None, r"'alphas' parameter"),
    "half": (2.5, r"'alphas' parameter"),
    "true": (True, r"alphas is True"),
    "empty": ([], r"alphas is \[\].*at least one"),
    "text": ("many", r"'alphas' parameter"),
    "texts": (["a"], r"alphas\[0\] must be an instance"),
    "NaN": ([1.0, np.nan], r"alphas\[1\] is NaN"),
    "infinity": ([np.inf, 1.0], r"alphas\[0\] == inf"),
    "negative": ([1.0, -1.0], r"alphas\[1\] == -1.0"),
    "complex": ([1j], r"alphas\[0\] must be an instance"),
    "a table": ([[1.0, 2.0]], r"alphas\[0\] must be an instance"),
    "a scalar array": (np.array(3), "alphas"),
}
CVS = {
    "empty": ([], r"cv yields no split"),
    "masks of other rows": ([(MASKS, ~MASKS)], r"cv yields a mask of shape \(100,\).*60 rows"),
    "rows of another X": ([(ROWS, ROWS + 60)], r"cv yields row 89, but X has 60 rows"),
    "one fold": (1, r"cv|splits"),
    "more folds than rows": (61, r"n_splits=61.*n_samples=60"),
    "no test rows": ([(ROWS, [])], r"test set of split 0 has no rows.*another cv"),
    "no training rows": ([([], ROWS)], r"training set of split 0 has no rows.*another cv"),
    "numbers": ([1, 2], r"cv yields 1: .*pairs"),
    "floats": ([(ROWS * 1.0, ROWS + 30.0)], r"cv yields an array .*float64.*row numbers"),
    "texts": ([("a", "b")], r"cv yields an array .*row numbers or masks"),
    "text": ("five", r"'cv' parameter"),
    "half": (2.5, r"'cv' parameter"),
}
WEIGHTS = {
    "too few": ([1.0], r"penalty_weights has shape \(1,\).*4 features"),
    "two columns": (np.ones((4, 2)), r"penalty_weights has shape \(4, 2\)"),
    "negative": ([1, 1, 1, -1], r"penalty_weights has negative"),
    "NaN": ([1, 1, 1, np.nan], r"penalty_weights has .*non-finite"),
    "infinity": ([1, 1, 1, np.inf], r"penalty_weights has .*non-finite"),
    "text": ([1, 1, 1, "a"], r"penalty_weights must be real numbers"),
    "complex": ([1, 1, 1, 1j], r"penalty_weights must be real numbers"),
    "a word": ("even", r"penalty_weights"),
    "a number": (1.0, r"'penalty_weights' parameter"),
}
RATIOS = {
    "empty": ([], r"l1_ratio is \[\]"),
    "NaN in a list": ([0.5, np.nan], r"l1_ratio\[1\] is NaN"),
    "above one in a list": ([0.5, 2], r"l1_ratio\[1\] == 2"),
    "texts": (["a"], r"l1_ratio\[0\] must be an instance"),
    "text": ("half", r"l1_ratio"),
    "NaN": (np.nan, r"'l1_ratio' parameter"),
    "negative": (-0.1, r"'l1_ratio' parameter"),
    "None": (None, r"'l1_ratio' parameter"),
}
# Numbers out of bounds, whatever estimator has them.
NUMBERS = {
    "alpha": [-1.0, np.nan, np.inf, "big", None, 1j, [1.0]],
    "tol": [-1e-3, np.nan, np.inf, "small"],
    "max_iter": [0, -1, 1.5, np.nan, "many"],
    "max_time": [0, -1.0, np.nan, np.inf, "long"],
    "huber_delta": [0.0, -1.0, np.nan, np.inf, None],
    "rho": [0.0, -1.0, np.nan, np.inf, "small"],
    "over_relaxation": [0.0, 2.0, np.nan],
    "n_blocks": [0, 1.5, np.inf, "many"],
    "max_staleness": [0, 1.5, np.nan],
    "verbose": [-1, "much"],
    "random_state": ["seed", -1],
    "loss": ["absolute", None, (), (abs,), (1, 2)],
    "local_solver": ["newton", None],
    "engine": ["fast", None, NoEngine(), Nothing, Nothing()],
    "warm_start": ["yes"],
    "polish": ["no"],
    "fit_intercept": [None],
    "positive": [2],
}
EPS = [0, -1, 2, np.nan, np.inf, "text", None]


def parameters():
    lasso, cv = AsyncLassoRegressor(0.1), AsyncLassoCV(alphas=5, cv=2)
    for name, values in NUMBERS.items():
        for value in values:
            yield f"{name}={value!r}"[:40], lasso, {name: value}, name
    for name, (value, match) in CVS.items():
        yield f"cv: {name}", cv, {"cv": value}, match
    for value in EPS:
        yield f"eps={value}", cv, {"eps": value}, "'eps' parameter"
        yield f"path: eps={value}", lasso_path, {"eps": value}, "'eps' parameter of lasso_path"
    for name, (value, match) in LISTS.items():
        yield f"alphas: {name}", cv, {"alphas": value}, match
        yield f"path: alphas: {name}", lasso_path, {"alphas": value}, match
    for name, (value, match) in RATIOS.items():
        yield f"l1_ratio: {name}", AsyncElasticNetCV(alphas=5, cv=2), {"l1_ratio": value}, match
        if not name.endswith(("list", "empty")):
            yield (
                f"elastic net: l1_ratio: {name}",
                AsyncElasticNetRegressor(0.1),
                {"l1_ratio": value},
                "'l1_ratio' parameter",
            )
    for name, (value, match) in WEIGHTS.items():
        for to, model in {"lasso": lasso, "cv": cv, "path": lasso_path}.items():
            yield f"{to}: penalty_weights: {name}", model, {"penalty_weights": value}, match


PARAMETERS = [pytest.param(*case, id=id) for id, *case in parameters()]


@PLACES
@pytest.mark.parametrize(("model", "bad", "match"), PARAMETERS)
def test_parameters(model, bad, match, place, client):
    data = on(place, X), on(place, y)
    if model is lasso_path:
        with pytest.raises((ValueError, TypeError), match=match):
            lasso_path(*data, client=client, **bad)
        return
    model = type(model)(**model.get_params()).set_params(client=client).fit(X, y)
    model.set_params(**bad)
    assert_fails(model, lambda: model.fit(*data), match)
    if "alpha" in bad or "tol" in bad:
        assert_fails(model, lambda: model.partial_fit(*data), match)
        assert_fails(model, lambda: model.fit_statistics(STATISTICS), match)


@PLACES
@pytest.mark.parametrize("name", ["empty", "no test rows", "no training rows", "numbers"])
def test_folds_of_many_columns(name, place, client):
    cv, match = CVS[name]
    if "rows" in name:
        cv = [tuple(np.asarray(rows, dtype=int) for rows in cv[0])]
    model = AsyncLassoCV(alphas=3, cv=cv, client=client)
    with pytest.raises(ValueError, match=match):
        model.fit(on(place, MANY), on(place, MANY[:, 0]))
    assert not fitted_attributes(model)


def test_a_client_that_is_none():
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client or None, got int"):
        with reuse_statistics(client=3):
            pass
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client or None, got int"):
        lasso_path(on("dask", X), on("dask", y), client=3)


def test_unknown_arguments_are_refused():
    for call in (
        lambda: lasso_path(X, y, alpha=3),
        lambda: AsyncLassoRegressor(lambda_=1),
        lambda: AsyncElasticNetCV(n_alphas=3),
        lambda: reuse_statistics(clients=None),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            call()


# -- data --------------------------------------------------------------------------------

# name -> what replaces X, y or the weights; what the message has to say
DATA = {
    "X of one dimension": ({"X": X[:, 0]}, r"\bX\b.*Expected 2D|Expected 2D array.*\bX\b"),
    "X of three dimensions": ({"X": X[:, :, np.newaxis]}, r"(?s)\bX\b.*(dim 3|3D)|3D.*\bX\b"),
    "X without columns": ({"X": X[:, :0]}, r"\bX\b.*0 feature\(s\)"),
    "no rows": ({"X": X[:0], "y": y[:0]}, r"0 sample\(s\)"),
    "complex X": ({"X": X + 0j}, r"X has dtype complex"),
    "words for X": ({"X": np.full(X.shape, "a")}, r"\bX\b"),
    "objects for X": ({"X": np.full(X.shape, "a", dtype=object)}, r"\bX\b"),
    "NaN in X": ({"X": put(X, np.nan, 33, 2)}, r"\bX contains NaN"),
    "infinity in X": ({"X": put(X, -np.inf, 33, 2)}, r"\bX contains infinity"),
    "y is None": ({"y": None}, r"\by\b"),
    "y is a number": ({"y": 3.0}, r"\by\b"),
    "y shorter": ({"y": y[:-1]}, r"inconsistent.*\bX has 60, y has 59"),
    "y empty": ({"y": y[:0]}, r"\by\b.*0 sample\(s\)|inconsistent.*\by has 0"),
    "y of three dimensions": ({"y": y[:, np.newaxis, np.newaxis]}, r"\by\b.*(dim 3|1d or 2d)"),
    "y without columns": ({"y": np.empty((60, 0))}, r"\by\b.* 0 (feature|col)"),
    "NaN in y": ({"y": put(y, np.nan, 33)}, r"\by contains NaN"),
    "infinity in y": ({"y": put(y, np.inf, 33)}, r"\by contains infinity"),
    "complex y": ({"y": y + 0j}, r"y has dtype complex"),
    "words for y": ({"y": np.full(60, "a")}, r"\by\b.*(dtype|numeric)"),
    "dates for y": ({"y": np.arange(60).astype("M8[s]")}, r"y has dtype datetime64"),
    "weights shorter": ({"w": ONES[:-1]}, r"sample_weight.*59"),
    "negative weight": ({"w": put(ONES, -1.0, 33)}, r"sample_weight.*negative"),
    "NaN in weights": ({"w": put(ONES, np.nan, 33)}, r"sample_weight contains NaN"),
    "infinity in weights": ({"w": put(ONES, np.inf, 33)}, r"sample_weight contains .*infinity"),
    "weights all zero": ({"w": 0 * ONES}, r"(?i)sample.weight.*zero|sample_weight.*positive"),
    "weights in two columns": ({"w": np.ones((60, 2))}, r"(?i)sample.weights?\b.*1D"),
    "complex weights": ({"w": ONES + 0j}, r"sample_weight has dtype complex"),
    "words for weights": ({"w": np.full(60, "a")}, r"sample_weight.*(dtype|numeric)"),
    "a word for weights": ({"w": "even"}, r"sample_weight"),
    "weight below zero": ({"w": -1.0}, r"sample_weight is -1.0"),
    "weight zero": ({"w": 0.0}, r"sample_weight is 0.0"),
    "weight NaN": ({"w": np.nan}, r"sample_weight is nan"),
    "complex weight": ({"w": 1j}, r"sample_weight is 1j"),
}
DOORS = {
    "fit": lambda model, *data: model.fit(*data),
    "partial_fit": lambda model, *data: model.partial_fit(*data),
    "score": lambda model, *data: model.score(*data),
    "lasso_path": lambda model, X, y, w: lasso_path(X, y, sample_weight=w, client=model.client),
    "huber": lambda model, *data: model.set_params(loss="huber").fit(*data),
    "cv": lambda model, *data: AsyncLassoCV(cv=2, alphas=3, client=model.client).fit(*data),
}


@PLACES
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", DATA)
def test_data(name, door, place, client):
    changed, match = DATA[name]
    data = {"X": X, "y": y, "w": None, **changed}
    model = AsyncLassoRegressor(0.1, client=client).fit(X, y)
    call = DOORS[door]
    assert_fails(model, lambda: call(model, *(on(place, part) for part in data.values())), match)


def test_lists_are_data():
    found = lasso_path(X.tolist(), y.tolist(), alphas=3, sample_weight=ONES.tolist())
    for one, other in zip(found, lasso_path(X, y, alphas=3, sample_weight=ONES), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("model", [AsyncLassoRegressor(0.1), AsyncLassoCV(alphas=3)])
def test_all_columns_unpenalised_is_least_squares(model):
    model.set_params(penalty_weights=[0, 0, 0, 0]).fit(X, y)
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    _, coefs, _ = lasso_path(X, y, alphas=2, penalty_weights=[0, 0, 0, 0], fit_intercept=True)
    np.testing.assert_allclose(coefs.T, [expected.coef_] * 2, rtol=1e-9)


# -- a start from another fit ------------------------------------------------------------


@PLACES
@pytest.mark.parametrize("route", ["tall", "many columns", "raw rows", "admm", "statistics"])
def test_warm_start_of_another_shape(route, place, client):
    rows = MANY if route == "many columns" else X
    target = rows[:, 0]
    settings = {"raw rows": {"loss": "huber"}, "admm": {"polish": False}}.get(route, {})
    model = AsyncLassoRegressor(0.1, warm_start=True, client=client, **settings)
    model.fit(rows, np.column_stack([target, rows[:, 1]]))
    fit = model.fit
    if route == "statistics":

        def fit(X, y):
            return model.fit_statistics(
                AsyncLassoRegressor(0.1, client=client).fit(X, y).statistics_
            )

    more = np.column_stack([rows, rows[:, 0]])
    assert_fails(
        model,
        lambda: fit(on(place, rows), on(place, target)),
        r"warm_start=True.* 2 targets and y has 1",
    )
    assert_fails(
        model,
        lambda: fit(on(place, more), on(place, rows[:, :2])),
        rf"warm_start=True.* {rows.shape[1]} features and X has {rows.shape[1] + 1}",
    )


# -- plugs -------------------------------------------------------------------------------


def test_an_engine_that_ends_early_is_not_believed(client):
    class Half:
        def run(self, run):
            run.absorb(next(iter(run.completed())))
            run.update()

    for polish in (True, False):
        model = AsyncLassoRegressor(0.1, engine=Half(), n_blocks=4, polish=polish)
        with pytest.warns(ConvergenceWarning, match=r"its engine after 15 rows, with 3 of 4"):
            model.fit(X, y)
        assert model.n_samples_seen_ == 15

    class Hasty:
        """All blocks, but no sweep."""

        def run(self, run):
            for result in run.completed():
                run.absorb(result)
            run.update()

    model = AsyncLassoRegressor(0.1, engine=Hasty(), n_blocks=4, polish=False, tol=1e-12)
    with pytest.warns(ConvergenceWarning, match="stopped by its engine"):
        model.fit(X, y)


def squares(beta, X, y):
    return 0.5 * float(((X @ beta - y) ** 2).sum())


def slope(beta, X, y):
    return X.T @ (X @ beta - y)


LOSSES = {
    "NaN": (lambda beta, X, y: np.nan, slope, r"loss: .*f is nan"),
    "NaN slope": (squares, lambda beta, X, y: np.nan * beta, r"loss: .*fprime has 5 values"),
    "one value a row": (
        lambda beta, X, y: y,
        slope,
        r"loss: f returned .*shape \(\d+,\).*one number",
    ),
    "None": (lambda beta, X, y: None, slope, r"loss: f returned .*object.*one number"),
    "complex": (lambda beta, X, y: 1j, slope, r"loss: f returned .*complex.*one number"),
    "slope a number": (squares, lambda beta, X, y: 1.0, r"loss: fprime returned .*\(\).*\(5,\)"),
    "slope too short": (squares, lambda beta, X, y: beta[:-1], r"fprime returned .*\(4,\)"),
    "slope None": (squares, lambda beta, X, y: None, r"loss: fprime returned .*object"),
    "NaN later": (
        lambda beta, X, y: squares(beta, X, y) if abs(beta[0]) < 0.1 else np.nan,
        slope,
        r"loss: f returned NaN for an estimate",
    ),
}


@PLACES
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_with_a_defect(name, place, client):
    f, fprime, match = LOSSES[name]
    model = AsyncLassoRegressor(0.1, client=client).fit(X, y)
    if place == "dask":  # functions of this module are not there on the workers
        model.client = None
    model.set_params(loss=(f, fprime))
    assert_fails(model, lambda: model.fit(on(place, X), on(place, y)), match)


class Absolute:
    """A penalty that is one."""

    def value(self, w):
        return float(np.abs(w).sum())

    def prox(self, w, step):
        return np.sign(w) * np.maximum(np.abs(w) - step, 0)


class TextValue(Absolute):
    def value(self, w):
        return "small"


class NotFinite(Absolute):
    def prox(self, w, step):
        return w * np.nan


class TooShort(Absolute):
    def prox(self, w, step):
        return w[:-1]


class OfOneRow:
    """The squared loss of the first row alone."""

    def value(self, eta, y):
        return (eta - y)[:1] ** 2 / 2

    def derivative(self, eta, y):
        return eta - y

    def curvature(self, eta, y):
        return np.ones_like(y)


def of_text(estimator, X, y):
    return "good"


def of_nothing(estimator, X, y):
    return np.nan


LASSO, LABELS = AsyncLassoRegressor(0.1), (y > 0).astype(int)
CHOICE, LOGISTIC = AsyncLassoCV(alphas=3, cv=3), AsyncLogisticRegression(0.01)
CLASSES, TEXTS = AsyncLogisticRegressionCV(alphas=2, cv=3), np.resize(["a", "b", "c"], 60)
PLUGS = {
    "a value that is text": (LASSO, y, {"penalty": TextValue()}, "penalty: value returned 'small'"),
    "NaN of a prox": (LASSO, y, {"penalty": NotFinite()}, "penalty: prox returned NaN"),
    "a short prox": (LASSO, y, {"penalty": TooShort()}, r"penalty: prox .*shape \(3,\)"),
    "no penalty": (LASSO, y, {"penalty": NoEngine()}, "penalty"),
    "no loss": (LASSO, y, {"loss": NoEngine()}, "loss"),
    "a loss of one row": (LASSO, y, {"loss": OfOneRow()}, r"loss: value .*shape \(1, 1\)"),
    "a score that is text": (CHOICE, y, {"scoring": of_text}, "scoring: of_text returned 'good'"),
    "a score of nothing": (CHOICE, y, {"scoring": of_nothing}, "scoring: of_nothing returned nan"),
    "a score of classes": (CHOICE, y, {"scoring": "accuracy"}, "'accuracy' is no score of numbers"),
    "a score of odds": (CHOICE, y, {"scoring": "roc_auc"}, "'roc_auc' is no score of numbers"),
    "a score of numbers": (CLASSES, TEXTS, {"scoring": "r2"}, "'r2' is no score of 3 classes"),
    "a score of two": (CLASSES, TEXTS, {"scoring": "roc_auc"}, "'roc_auc' is no score of 3"),
    "no score": (CHOICE, y, {"scoring": "best"}, "scoring"),
    "a share above one": (CHOICE, y, {"relaxed": [2.0]}, "relaxed"),
    "bounds without zero": (LASSO, y, {"bounds": (0.1, 1)}, "bounds are 0.1 and 1"),
    "one bound": (LOGISTIC, LABELS, {"bounds": (-1,)}, "bounds must be a pair"),
    "weights that are text": (LOGISTIC, LABELS, {"class_weight": {0: "a"}}, "class_weight must be"),
    "negative weights": (LOGISTIC, LABELS, {"class_weight": {0: -1, 1: 1}}, "class_weight has neg"),
    "weights of no class": (LOGISTIC, LABELS, {"class_weight": {5: 1}}, "class_weight|[Cc]lass"),
    "no offset a row": (LASSO, y, {"offset": 1.0}, "offset is 1.0"),
    "offsets too few": (LOGISTIC, LABELS, {"offset": ONES[1:]}, "offset"),
}


@pytest.mark.filterwarnings("ignore")
@PLACES
@pytest.mark.parametrize("name", PLUGS)
def test_plugs_bounds_and_weights_of_classes(name, place, thread_workers):
    model, target, bad, match = PLUGS[name]
    model = type(model)(**model.get_params()).set_params(client=thread_workers).fit(X, target)
    bad = dict(bad)
    offset = {"offset": on(place, bad.pop("offset"))} if "offset" in bad else {}
    model.set_params(**bad)
    data = on(place, X), on(place, target)
    assert_fails(model, lambda: model.fit(*data, **offset), match)
    assert_nothing_left(thread_workers)


@PLACES
def test_what_is_asked_of_a_fitted_estimator(place, thread_workers):
    model = AsyncLassoRegressor(0.1, client=thread_workers).fit(X, y)
    data = on(place, X), on(place, y)
    for decay in (0, -1, 2, np.nan, np.inf, "half", None):
        assert_fails(model, lambda decay=decay: model.partial_fit(*data, decay=decay), "decay")
    for level in (0, 1, np.nan, "most", None):
        assert_fails(model, lambda level=level: model.inference(level), "level")
    assert_fails(model, lambda: model.inference(y=data[1]), "y is of rows.*pass X too")
    classes = AsyncLogisticRegression(0.01, client=thread_workers).fit(X, LABELS)
    for weight in (-ONES, 0 * ONES, np.ones((60, 2))):
        of = data[0], on(place, LABELS), on(place, weight)
        assert_fails(classes, lambda of=of: classes.score(*of), "(?i)sample.weight|weight is zero")


@PLACES
@pytest.mark.parametrize("of", [LASSO, LOGISTIC], ids=["numbers", "classes"])
def test_none_and_names_are_no_rows(of, place, thread_workers):
    target = y if of is LASSO else LABELS
    model = type(of)(0.1, client=thread_workers).fit(X, target)
    rows, targets = on(place, X), on(place, target)
    for method in (model.fit, model.score):
        for args, match in (
            ((None, targets), "X is None, not an array or a data frame"),
            (("a.csv", targets), "X is 'a.csv', not an array or a data frame"),
            ((rows, "spent"), r"y is 'spent', .* column frame\['spent'\]"),
            ((rows, targets, "weight"), r"sample_weight is 'weight', .* frame\['weight'\]"),
            ((rows, None), r"requires y to be passed.*pass it beside X"),
        ):
            assert_fails(model, partial(method, *args), match)
    assert_fails(model, lambda: model.predict(None), "X is None")
    assert_fails(model, lambda: model.fit(rows, targets, offset="seen"), "offset is 'seen'")
    if of is LASSO:
        assert_fails(model, lambda: model.inference(X=rows), "requires y .*pass it beside X")
    assert_nothing_left(thread_workers)


# -- statistics --------------------------------------------------------------------------

DAMAGED = {
    "None": (None, r"statistics must be mappings, got NoneType"),
    "a list": ([1, 2], r"statistics must be mappings, got list"),
    "an estimator": (AsyncLassoRegressor(), r"must be mappings, got AsyncLassoRegressor"),
    "nothing in it": ({}, r"statistics lack n_rows, weight"),
    "negative n_rows": ({"n_rows": -1}, r"n_rows is -1"),
    "half a row": ({"n_rows": 2.5}, r"n_rows is 2.5"),
    "no rows": ({"n_rows": 0}, r"weight is 60.* of 0 rows"),
    "negative weight": ({"weight": -60.0}, r"weight is -60"),
    "weight NaN": ({"weight": np.nan}, r"weight has values that are not finite"),
    "weight text": ({"weight": "a"}, r"weight has dtype <U1"),
    "sxy None": ({"sxy": None}, r"sxy has dtype object"),
    "sxx complex": ({"sxx": STATISTICS["sxx"] + 0j}, r"sxx has dtype complex"),
    "sxx ragged": ({"sxx": [[1.0, 2.0], [3.0]]}, r"sxx is no array"),
    "sxx asymmetric": ({"sxx": put(STATISTICS["sxx"], 9.0, 0, 1)}, r"sxx is not symmetric"),
    "sxx negative": ({"sxx": -STATISTICS["sxx"]}, r"sxx has sums of squares below zero"),
    "sxx indefinite": (
        {"sxx": put(put(STATISTICS["sxx"], 90.0, 0, 1), 90.0, 1, 0)},
        r"sxx is not positive semi-definite",
    ),
    "sxx of fewer": ({"sxx": STATISTICS["sxx"][:3, :3]}, r"sxx has shape \(3, 3\).*\(4, 4\)"),
    "sxy of fewer": ({"sxy": STATISTICS["sxy"][:3]}, r"sxy has shape \(3,\).*\(4,\)"),
    "sxy too large": ({"sxy": 10 * STATISTICS["sxy"]}, r"sxy is larger than"),
    "syy negative": ({"syy": -1.0}, r"syy has sums of squares below zero"),
    "syy of two": ({"syy": [1.0, 2.0]}, r"has shape .* was expected"),
    "syy a cube": ({"syy": np.ones((1, 1, 1))}, r"has shape .* was expected"),
    "x_mean NaN": ({"x_mean": np.nan * ONES[:4]}, r"x_mean has values that are not finite"),
    "x_mean a number": ({"x_mean": 1.0}, r"x_mean has shape \(\)"),
    "too few names": ({"feature_names": ["a", "b"]}, r"feature_names has shape \(2,\)"),
    "numbers for names": ({"feature_names": [1, 2, 3, 4]}, r"feature_names .*int64"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_statistics(name):
    changed, match = DAMAGED[name]
    bad = {**STATISTICS, **changed} if isinstance(changed, dict) and changed else changed
    model = AsyncLassoRegressor(0.1).fit(X, y)
    assert_fails(model, lambda: model.fit_statistics(bad), match)
    assert_fails(model, lambda: model.fit_statistics(STATISTICS, bad), match)


def test_statistics_are_of_the_squared_loss():
    model = AsyncLassoRegressor(0.1).fit(X, y).set_params(loss="huber")
    assert_fails(model, lambda: model.fit_statistics(STATISTICS), r"needs loss='squared'")
    assert_fails(model, lambda: model.merge(model), r"needs loss='squared'")
    assert_fails(model, lambda: model.partial_fit(X, y), r"needs loss='squared'")
    assert_fails(model, model.fit_statistics, r"at least one fit")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("far", [0.0, 1e6])
def test_statistics_of_any_rows_are_accepted(dtype, scale, far):
    """Rounding is no damage: dependent, constant, far and tiny columns; exact and constant y."""
    base = rng.normal(size=(200, 3))
    base = np.column_stack([base, base[:, 0], -base[:, 1], base.sum(axis=1), np.ones(200)])
    if far and dtype is np.float32:  # a y of 1e6 +- 1 has an intercept that is rounded
        warnings.filterwarnings("ignore", "float32 has too few digits for the intercept")
    for rows in (slice(None), slice(0, 5), slice(0, 1)):
        rows_X = (scale * (base + far)[rows]).astype(dtype)
        for target in (rows_X[:, 0], np.full(len(rows_X), 3.7 * scale, dtype), base[rows, 2]):
            model = AsyncLassoRegressor(scale).fit(rows_X, target)
            again = AsyncLassoRegressor(scale).fit_statistics(model.statistics_)
            np.testing.assert_allclose(
                again.coef_, model.coef_, rtol=1e-6 if dtype == np.float32 else 1e-9
            )


# -- estimators that cannot do it --------------------------------------------------------


def without_statistics():
    bare = AsyncLassoRegressor(0.1).fit(X, y)
    del bare.statistics_
    return {
        "many columns": AsyncLassoRegressor(0.1).fit(MANY, MANY[:, 0]),
        "huber": AsyncLassoRegressor(0.1, loss="huber").fit(X, y),
        "deleted": bare,
    }


@pytest.mark.parametrize("name", ["many columns", "huber", "deleted"])
def test_fitted_without_statistics(name):
    model = without_statistics()[name]
    for call in (
        lambda: AsyncLassoRegressor().fit(X, y).merge(model),
        lambda: model.train_score_,
        lambda: model.degrees_of_freedom_,
    ):
        with pytest.raises((ValueError, AttributeError), match="has no statistics_") as caught:
            call()
        assert not isinstance(caught.value, NotFittedError)
    assert not hasattr(model, "train_score_")
    assert model.predict(MANY[:3] if name == "many columns" else X[:3]).shape == (3,)


def test_not_an_estimator_of_this_package():
    model = AsyncLassoRegressor().fit(X, y)
    with pytest.raises(ValueError, match="This Lasso has no statistics_"):
        model.merge(Lasso().fit(X, y))
    with pytest.raises(TypeError, match="others: a NoneType is not an estimator"):
        model.merge(None)
    with pytest.raises(TypeError, match="sources: a ndarray is not an estimator"):
        equivalent_rows(X)
    with pytest.raises(TypeError, match="estimator: the class Lasso is not an estimator"):
        CoefficientDisplay.from_estimator(Lasso)
    with pytest.raises(NotFittedError):
        model.merge(AsyncLassoRegressor())


def test_names_of_statistics_go_with_the_features():
    frame = pd.DataFrame(X, columns=list("abcd"))
    named = AsyncLassoRegressor(0.1).fit(frame, y)
    model = AsyncLassoRegressor(0.1).fit_statistics(named.statistics_)
    assert list(model.feature_names_in_) == list("abcd")
    other = AsyncLassoRegressor(0.1).fit(frame[list("dcba")], y)
    assert_fails(model, lambda: model.merge(other), "different names, or in another order")


def test_there_are_enough_of_them():
    assert len(PARAMETERS) + len(DATA) + len(LOSSES) + len(DAMAGED) >= 60
    names = [case.id for case in PARAMETERS]
    assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]
    assert all(re.compile(match) for _, match in DATA.values())


# -- columns that are no numbers ------------------------------------------------------------

TABLE = pd.DataFrame(X, columns=list("abcd")).assign(
    town=["Bern", "Zug"] * 30, kind=pd.Categorical(["u", "v", "w"] * 20)
)


def as_kind(kind, frame):
    if kind == "dask":
        return pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=3)
    if kind == "polars":
        return pytest.importorskip("polars").from_pandas(frame)
    return pytest.importorskip("pyarrow").Table.from_pandas(frame) if kind == "arrow" else frame


KINDS = ["pandas", "dask", "polars", "arrow"]


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_categories_come_with_a_recipe(kind):
    frame, target = as_kind(kind, TABLE), on("dask" if kind == "dask" else "numpy", y)
    model = AsyncLassoRegressor(0.1).fit(X, y)
    with pytest.raises(ValueError, match="not real numbers: 'town', 'kind'") as caught:
        model.fit(frame, target)
    recipe = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    ")]
    assert len(recipe) == 3
    if kind == "polars":
        assert "with scikit-learn before 1.9 of X = X.to_pandas()" in str(caught.value)
        frame = frame.to_pandas() if SKLEARN < (1, 9) else frame
    if kind == "arrow":
        assert "First call X = X.to_pandas()" in str(caught.value)
        frame = frame.to_pandas()
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline

    names = {"make_column_transformer": make_column_transformer, "make_pipeline": make_pipeline}
    names["X"] = frame
    exec("\n".join(recipe), names)
    model.fit(names["X"], target)
    assert model.n_features_in_ == 4 + 2 + 3
    assert len(model.predict(names["encoder"].transform(frame))) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_dates_come_with_a_recipe(kind):
    frame = as_kind(kind, TABLE[["a"]].assign(day=pd.date_range("2026-01-01", periods=60)))
    with pytest.raises(ValueError, match=r"'day' .datetime64.* time since one of them") as caught:
        AsyncLassoRegressor(0.1).fit(frame, y)
    formula = re.search(r"one of them: (.*)\.", str(caught.value))[1]
    if kind == "arrow":
        assert "First call X = X.to_pandas()" in str(caught.value)
        frame = frame.to_pandas()
    days = eval(formula, {"X": frame, "np": np})
    frame = frame.with_columns(day=days) if kind == "polars" else frame.assign(day=days)
    AsyncLassoRegressor(0.1).fit(frame, y)
