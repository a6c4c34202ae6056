"""Do 95 % intervals cover the truth in 95 % of simulated data sets?

python tests/intervals.py             # 500 data sets of each kind
python tests/intervals.py 50
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

from dask_lasso import AsyncLassoCV

# rows, columns, coefficients that are not zero, correlation of neighbours, noise that differs
DESIGNS = {
    "1,000 x 10": (1_000, 10, 4, 0.5, False),
    "1,000 x 10, noise by row, robust": (1_000, 10, 4, 0.5, True),
    "200 x 100, independent": (200, 100, 5, 0.0, False),
    "200 x 100, correlated": (200, 100, 5, 0.5, False),
}


def coverage(design, n_sets, seed=0):
    """Shares of intervals that cover: of zeros, of the rest, of all; and their mean width."""
    n, k, n_true, correlation, by_row = DESIGNS[design]
    rng = np.random.default_rng(seed)
    mixing = np.linalg.cholesky(correlation ** np.abs(np.subtract.outer(range(k), range(k))))
    hits, is_true, widths = [], [], []
    for _ in range(n_sets):
        X = rng.normal(size=(n, k)) @ mixing.T
        coef = np.zeros(k)
        coef[rng.choice(k, n_true, replace=False)] = rng.choice([-1, 1], n_true) * rng.uniform(
            0.5, 1.5, n_true
        )
        noise = rng.normal(size=n) * (np.abs(X).max(axis=1) if by_row else 1.0)
        y = X @ coef + noise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AsyncLassoCV(cv=5, alphas=30).fit(X, y)
        rows = dict(X=X, y=y) if by_row else {}
        table = model.inference(0.95, **rows)
        hits.append((table.lower <= coef) & (coef <= table.upper))
        is_true.append(coef != 0)
        widths.append((table.upper - table.lower).mean())
    hits, is_true = np.array(hits), np.array(is_true)
    return hits[~is_true].mean(), hits[is_true].mean(), hits.mean(), np.mean(widths)


def main(n_sets=500):
    print("| 95 % intervals | cover zeros | cover the others | cover all | mean width |")
    print("|---|---|---|---|---|")
    for design in DESIGNS:
        zeros, rest, both, width = coverage(design, n_sets)
        print(f"| {design} | {zeros:.3f} | {rest:.3f} | {both:.3f} | {width:.3f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
