"""The lasso on data larger than one machine's memory, on Dask."""

from ._version import __version__
from .engines.run import Run
from .engines.schedules import Engine
from .estimators.coefficients import CoefficientDisplay
from .estimators.convergence_display import ConvergenceDisplay
from .estimators.cv import AsyncElasticNetCV, AsyncLassoCV
from .estimators.displays import CVDisplay, PathDisplay
from .estimators.elastic_net import AsyncElasticNetRegressor
from .estimators.equivalent import equivalent_rows
from .estimators.lasso import AsyncLassoRegressor
from .estimators.live import LiveView
from .estimators.logistic import AsyncLogisticRegression, AsyncLogisticRegressionCV
from .estimators.path import lasso_path
from .places.reuse import reuse_statistics
from .problem.losses import Loss
from .problem.penalties import Penalty

__all__ = [
    "AsyncElasticNetCV",
    "AsyncElasticNetRegressor",
    "AsyncLassoCV",
    "AsyncLassoRegressor",
    "AsyncLogisticRegression",
    "AsyncLogisticRegressionCV",
    "CVDisplay",
    "CoefficientDisplay",
    "ConvergenceDisplay",
    "Engine",
    "LiveView",
    "Loss",
    "PathDisplay",
    "Penalty",
    "Run",
    "__version__",
    "equivalent_rows",
    "lasso_path",
    "reuse_statistics",
]
