"""The lasso on data larger than one machine's memory, on Dask."""

from ._cv import AsyncElasticNetCV, AsyncLassoCV
from ._displays import ConvergenceDisplay, CVDisplay, PathDisplay
from ._elastic_net import AsyncElasticNetRegressor
from ._engines import Engine
from ._estimator import AsyncLassoRegressor
from ._path import lasso_path
from ._reuse import reuse_statistics
from ._version import __version__

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
