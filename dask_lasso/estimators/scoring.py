"""What the argument `scoring` of a cross-validation means."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring

from ..problem.losses import Gamma, Logistic, Poisson, is_squared
from ..problem.softmax import Softmax
from .predict import r2_of

# Scores that are functions of the mean squared error, or of the mean deviance of a loss.
_OF_SQUARES: dict[str, Callable] = {
    "neg_mean_squared_error": lambda mse, variance: -mse,
    "neg_root_mean_squared_error": lambda mse, variance: -np.sqrt(mse),
    "r2": r2_of,
}
_OF_DEVIANCES: dict[str, tuple[Any, Callable]] = {
    "neg_log_loss": (Logistic | Softmax, lambda deviance, _: -deviance / 2),
    "neg_mean_poisson_deviance": (Poisson, lambda deviance, _: -deviance),
    "neg_mean_gamma_deviance": (Gamma, lambda deviance, _: -deviance),
}
# Means over rows, so that chunks can be scored where they are.
_MEANS = {
    "accuracy",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_squared_error",
    "neg_mean_squared_log_error",
    "neg_mean_poisson_deviance",
    "neg_mean_gamma_deviance",
}


class Scoring:
    """A `Score`, of a scorer of scikit-learn or a callable ``scorer(estimator, X, y)``.

    It is called with an estimator of one column, the linear predictor of the rows, so that
    whatever it asks for (`predict`, `predict_proba`, `decision_function`) is of their model.

    Parameters
    ----------
    estimator : estimator of this package
        Whose classes are known, if it is a classifier.
    scoring : str or callable
    n_targets : int
        That a score is of.
    is_by_passes : bool
        Whether the variance of y on test sets is not known.
    """

    def __init__(
        self, estimator: Any, scoring: str | Callable, n_targets: int, is_by_passes: bool
    ) -> None:
        self.name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "scorer")
        self.of_errors: Callable | None = None
        if isinstance(scoring, str):
            loss = estimator._loss()
            kind, of_deviance = _OF_DEVIANCES.get(scoring, (None, None))
            if is_squared(loss) and not (is_by_passes and scoring == "r2"):
                self.of_errors = _OF_SQUARES.get(scoring)
            elif kind is not None and isinstance(loss, kind):
                self.of_errors = of_deviance
        self.is_mean = isinstance(scoring, str) and scoring in _MEANS
        self._scorer = check_scoring(estimator, scoring)
        self._model = model = copy.copy(estimator)
        for name in [name for name in vars(model) if name.endswith("_") and name != "classes_"]:
            del vars(model)[name]  # of an earlier fit
        model.n_features_in_ = n_targets
        is_flat = n_targets == 1 and not is_classifier(estimator)
        model.coef_ = np.ones(1) if is_flat else np.eye(n_targets)
        model.intercept_ = 0.0 if is_flat else np.zeros(n_targets)
        if isinstance(scoring, str) and self.of_errors is None:
            self._check(n_targets)

    def _check(self, n_targets):
        """Score a few rows that are made up, lest a score of other targets fails after the fit."""
        n_classes = len(self._model.classes_) if is_classifier(self._model) else 0
        if n_classes:  # each is told right three times of four
            told = np.resize(range(n_classes), 4 * n_classes)
            eta = np.eye(n_classes)[told] if n_targets > 1 else 2.0 * told[:, np.newaxis] - 1
            y = np.r_[np.roll(told[:n_classes], 1), told[n_classes:]][:, np.newaxis]
        else:
            eta = np.linspace(0.1, 0.9, 8 * n_targets).reshape(8, n_targets)
            y = eta[::-1]
        try:
            self.of_rows(eta, y, None)
        except (AttributeError, TypeError, ValueError) as error:
            of = f"{n_classes} classes" if n_classes else "numbers"
            raise ValueError(
                f"scoring={self.name!r} is no score of {of}, scikit-learn says: {error}"
            ) from error

    def of_rows(self, eta: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of linear predictors and targets (n, m), and of weights (n,)."""
        y = y if y.shape[1] > 1 else y[:, 0]
        if is_classifier(self._model):
            y = self._model.classes_[y.astype(np.intp)]
        weights = {} if weight is None else {"sample_weight": weight}
        score = self._scorer(self._model, eta, y, **weights)
        if not isinstance(score, Real) or np.isnan(float(score)):
            raise ValueError(
                f"scoring: {self.name} returned {score!r} for {len(eta)} rows; it must be a number."
            )
        return float(score)
