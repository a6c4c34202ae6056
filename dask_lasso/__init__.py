"""The lasso on data larger than one machine's memory, on Dask."""

from ._version import __version__
from .engines.schedules import Engine
from .estimators.cv import AsyncElasticNetCV, AsyncLassoCV
from .estimators.displays import ConvergenceDisplay, CVDisplay, PathDisplay
from .estimators.elastic_net import AsyncElasticNetRegressor
from .estimators.path import lasso_path
from .estimators.regressor import AsyncLassoRegressor
from .places.reuse import reuse_statistics

__all__ = [
    "AsyncElasticNetCV",
    "AsyncElasticNetRegressor",
    "AsyncLassoCV",
    "AsyncLassoRegressor",
    "CVDisplay",
    "ConvergenceDisplay",
    "Engine",
    "PathDisplay",
    "__version__",
    "lasso_path",
    "reuse_statistics",
]
