"""Grid searches over alpha, with and without `reuse_statistics`, in one run.

python benchmarks/search.py --rows 200000
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import dask.array as da
import dask_ml.model_selection
import numpy as np
import sklearn.model_selection
from distributed import Client, LocalCluster

from dask_lasso import AsyncLassoCV, AsyncLassoRegressor, reuse_statistics


def main():
    """Print seconds, and the ratio to the cross-validation that does it in one pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--alphas", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    alphas = np.geomspace(1e-3, 1.0, args.alphas)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        rng = da.random.default_rng(0)
        X = rng.normal(size=(args.rows, args.columns), chunks=(args.rows // 20, -1))
        y = X[:, :10].sum(axis=1) + rng.normal(size=args.rows, chunks=args.rows // 20)
        X, y = client.persist([X, y])
        client.compute([X.sum(), y.sum()], sync=True)

        def search(module, reuse, **options):
            model = module.GridSearchCV(
                AsyncLassoRegressor(), {"alpha": alphas}, cv=5, refit=False, **options
            )
            with reuse_statistics() if reuse else nullcontext():
                model.fit(X, y)

        cases = {"AsyncLassoCV": lambda: AsyncLassoCV(alphas=alphas, cv=5).fit(X, y)}
        for name, module, options in (
            ("scikit-learn's GridSearchCV", sklearn.model_selection, {}),
            ("dask-ml's GridSearchCV", dask_ml.model_selection, {"iid": False}),
        ):
            for reuse in (True, False):
                cases[name + (", reuse_statistics" if reuse else "")] = (
                    lambda module=module, reuse=reuse, options=options: search(
                        module, reuse, **options
                    )
                )
        seconds = {name: [] for name in cases}
        for _ in range(args.repeats):
            for name, run in cases.items():
                run()  # what was idle while the others ran is warm again
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
        first = statistics.median(seconds["AsyncLassoCV"])
        print(f"{args.rows} x {args.columns}, 5 folds x {args.alphas} alphas, medians:")
        for name, times in seconds.items():
            median = statistics.median(times)
            print(f"{name:45} {median:7.2f} s {median / first:7.1f} x")


if __name__ == "__main__":
    main()
