"""The lasso on data larger than one machine's memory, on Dask."""

from ._engines import Engine
from ._estimator import AsyncLassoRegressor
from ._version import __version__

__all__ = ["AsyncLassoRegressor", "Engine", "__version__"]
