"""A fitted model elsewhere: as a plain scikit-learn estimator, a table, a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from sklearn import linear_model
from sklearn.base import BaseEstimator, is_classifier

from ..problem.losses import Gamma, Poisson, Tweedie, is_squared
from ..problem.penalties import L1

if TYPE_CHECKING:
    import pandas as pd

# Of these losses scikit-learn has models, of the same mean; their penalty is l2 alone.
_OF_MEANS = {
    Poisson: linear_model.PoissonRegressor,
    Gamma: linear_model.GammaRegressor,
    Tweedie: linear_model.TweedieRegressor,
}


def to_sklearn(estimator: Any) -> BaseEstimator:
    """The `sklearn.linear_model` estimator of the same problem, with the same coefficients."""
    plain = _unfitted(estimator)
    k, n_targets = estimator.n_features_in_, np.atleast_2d(estimator.coef_).shape[0]
    if is_classifier(estimator):
        y = estimator.classes_
    else:
        y = np.ones((2, n_targets)) if estimator.coef_.ndim == 2 else np.ones(2)
    # A fit sets what its own methods need beside the coefficients, in any version.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(np.zeros((len(y), k)), y)
    names = ("coef_", "intercept_", "n_iter_", "feature_names_in_", "dual_gap_")
    for name in names:
        if name in vars(estimator) and (name == "feature_names_in_" or name in vars(plain)):
            value = vars(estimator)[name]
            setattr(plain, name, value.copy() if isinstance(value, np.ndarray) else value)
    return plain


def _unfitted(estimator):
    """The estimator of scikit-learn, with the parameters that mean the same."""
    problem = estimator._problem()
    penalty, loss = problem.penalty, problem.loss
    shared = {"fit_intercept": estimator.fit_intercept}
    is_plain = (
        isinstance(penalty, L1)
        and penalty.weights is None
        and not (penalty.standardize or penalty.adaptive)
        and (penalty.box is None or (penalty.box.is_orthant and not is_classifier(estimator)))
    )
    if is_classifier(estimator) and not is_plain:
        return linear_model.LogisticRegression(**shared)
    if is_classifier(estimator):
        strength = estimator.n_samples_seen_ * penalty.alpha
        plain = linear_model.LogisticRegression(
            C=1 / strength if strength > 0 else np.inf, l1_ratio=penalty.l1_ratio, solver="saga"
        )
        if plain.penalty == "l2":  # scikit-learn < 1.8
            plain.penalty = "elasticnet"
        return plain.set_params(**shared)
    if type(loss) in _OF_MEANS:
        if isinstance(loss, Tweedie):
            shared.update(power=loss.power, link="log")
        return _OF_MEANS[type(loss)](alpha=float(getattr(penalty, "l2", 0.0)), **shared)
    if hasattr(loss, "inverse_link"):
        raise ValueError(
            f"to_sklearn: scikit-learn has no linear model of the loss {type(loss).__name__}:"
            " predictions are inverse_link(X @ coef_ + intercept_)."
        )
    if not (is_plain and is_squared(loss)) or np.ndim(penalty.alpha) or not penalty.alpha:
        return linear_model.LinearRegression(positive=estimator.positive, **shared)
    shared.update(alpha=penalty.alpha, positive=estimator.positive, max_iter=estimator.max_iter)
    if penalty.has_ridge:
        return linear_model.ElasticNet(l1_ratio=penalty.l1_ratio, **shared)
    return linear_model.Lasso(**shared)


def coefficients(estimator: Any) -> pd.Series | pd.DataFrame:
    """Coefficients of a fitted estimator, by the names of features and targets."""
    pandas = frames("coefficients()")
    coef = np.atleast_2d(estimator.coef_)
    index = pandas.Index(feature_names(estimator), name="feature")
    if len(coef) == 1:
        return pandas.Series(coef[0], index, name="coefficient")
    targets = getattr(estimator, "_target_names_", None) or range(len(coef))
    return pandas.DataFrame(coef.T, index, targets)


def feature_names(estimator: Any) -> list[str]:
    """Names of the features; x0, x1, ... where the fit knew none, as elsewhere in scikit-learn."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{i}" for i in range(estimator.n_features_in_)] if names is None else list(names)


def frames(called: str) -> Any:
    """The package pandas, or an error that says what needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{called} returns a pandas object: pip install pandas.") from error
    return pandas


def save(estimator: Any, path: str | Path) -> None:
    """Write an estimator with its `statistics_`, which a pickle lacks."""
    joblib.dump(_Whole(estimator), path)


class _Whole:
    """An estimator whose pickle has its statistics."""

    def __init__(self, estimator):
        self.estimator = estimator

    def __reduce__(self):
        return _with_statistics, (self.estimator, vars(self.estimator).get("statistics_"))


def _with_statistics(estimator, statistics):
    if statistics is not None:
        estimator.statistics_ = statistics
    return estimator
