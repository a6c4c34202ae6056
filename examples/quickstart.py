"""
Predict every pixel of two photographs from the pixels before it
================================================================

The photographs that scikit-learn ships become a table: a row per pixel, a column per
colour of each neighbour above it or to its left. The table is written to Parquet, read
back lazily, split, scaled and fitted with every engine, in this process and on a local
cluster of processes; scikit-learn fits the same rows in memory. Prints a table and draws
`quickstart.png`.

    python examples/quickstart.py [--output DIR] [--radius R]
"""

# sphinx_gallery_thumbnail_path = 'images/quickstart.png'
from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import dask.dataframe as dd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from dask_ml.model_selection import train_test_split
from dask_ml.preprocessing import StandardScaler
from distributed import Client, LocalCluster
from matplotlib.colors import SymLogNorm
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Lasso
from sklearn.pipeline import make_pipeline

from dask_lasso import AsyncLassoRegressor

COLOURS = ["red", "green", "blue"]
TARGET = "green"
ALPHA = 0.1  # grey levels, of 255
ENGINES = {"sync": "tab:blue", "async": "tab:orange", "batched": "tab:green"}


def neighbourhoods(photo, radius):
    """Array (rows, columns, 3, neighbours + 1) of the pixels that have all neighbours.

    The neighbours are in reading order: `radius` rows above, then those to the left; the
    pixel itself comes last.
    """
    window = (radius + 1, 2 * radius + 1)
    windows = np.lib.stride_tricks.sliding_window_view(photo, window, axis=(0, 1))
    windows = windows.reshape(*windows.shape[:3], -1)
    return windows[..., : radius * window[1] + radius + 1]


def feature_names(radius):
    """One name per column, such as green-3+1: three rows up, one column right."""
    offsets = [(i - radius, j - radius) for i in range(radius + 1) for j in range(2 * radius + 1)]
    before = [(i, j) for i, j in offsets if (i, j) < (0, 0)]
    return [f"{colour}{i:+d}{j:+d}" for colour in COLOURS for i, j in before]


def strip_table(strip, radius):
    """Table of the pixels in a strip of one photograph; runs where dask puts it."""
    photo, top, bottom = strip
    image = load_sample_images().images[photo][top : bottom + radius]
    pixels = neighbourhoods(image, radius)
    rows = pixels.reshape(-1, *pixels.shape[2:])
    features = pd.DataFrame(rows[:, :, :-1].reshape(len(rows), -1), columns=feature_names(radius))
    return features.assign(**dict(zip(COLOURS, rows[:, :, -1].T, strict=True)))


def write_table(path, radius, height=32):
    """Write the table of both photographs to Parquet, a partition per strip."""
    strips = [
        (photo, top, min(top + height, len(image) - radius))
        for photo, image in enumerate(load_sample_images().images)
        for top in range(0, len(image) - radius, height)
    ]
    dd.from_map(strip_table, strips, radius=radius).to_parquet(path, write_index=False)


class Estimates:
    """A scikit-learn callback that keeps the coefficients of every running estimate."""

    def setup(self, estimator, context):
        """Start anew with each fit."""
        self.coefs = []

    def on_fit_task_begin(self, estimator, context):
        """Nothing to do."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Keep the estimate."""
        self.coefs.append(fitted_estimator.coef_)

    def teardown(self, estimator, context):
        """Nothing to do."""


def fit(model, X, y):
    """Fit, and return the seconds that it took."""
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start


def fit_from_parquet(X_train, y_train, X_test, y_test):
    """Fit a pipeline with each engine, without a Client and on a cluster of processes.

    Returns the lines of the table, the fitted scaler, and for each engine the rows seen
    and the coefficients of its running estimates.
    """
    lines, estimates = [], {}
    places = {
        "Parquet, no Client": nullcontext,
        "Parquet, processes": lambda: LocalCluster(threads_per_worker=1, dashboard_address=":0"),
    }
    for where, open_cluster in places.items():
        with open_cluster() as cluster, Client(cluster) if cluster else nullcontext():
            for engine in ENGINES:
                recorder = Estimates()
                model = AsyncLassoRegressor(ALPHA, engine=engine).set_callbacks(recorder)
                pipeline = make_pipeline(StandardScaler(), model)
                seconds = fit(pipeline, X_train, y_train)
                score = pipeline.score(X_test, y_test)
                lines.append((where, f"engine={engine!r}", seconds, model, score))
                estimates[engine] = (model.history_["samples_seen"], recorder.coefs)
    return lines, pipeline[0], estimates


def fit_in_memory(X_train, y_train, X_test, y_test):
    """Fit the same rows in memory with this package and scikit-learn; the last is exact."""
    models = {
        "AsyncLassoRegressor()": AsyncLassoRegressor(ALPHA),
        "Lasso(precompute=True)": Lasso(ALPHA, precompute=True),
        "Lasso(.., tol=1e-12)": Lasso(ALPHA, precompute=True, tol=1e-12, max_iter=100_000),
    }
    lines = []
    for name, model in models.items():
        seconds = fit(model, X_train, y_train)
        lines.append(("NumPy", name, seconds, model, model.score(X_test, y_test)))
    return lines


def print_table(lines, null_loss):
    """Print a line per fit; coefficients are compared with those of the last line."""
    exact = lines[-1][3].coef_
    print(
        f"{'rows in':20} {'estimator':24} {'seconds':>8} {'dual gap':>9} {'coef_ off':>10}"
        f" {'R2 test':>8}"
    )
    for where, name, seconds, model, score in lines:
        gap = model.dual_gap_ / null_loss
        difference = np.abs(model.coef_ - exact).max() / np.abs(exact).max()
        print(f"{where:20} {name:24} {seconds:8.2f} {gap:9.0e} {difference:10.0e} {score:8.5f}")
    print(
        "\nseconds: of fit; from Parquet they include reading the table twice (scaler, lasso)."
        "\ndual gap: over the variance of y. coef_ off: largest difference from the last line's"
        "\ncoefficients, over the largest of those."
    )


def excess_objective(coef, X, y, optimum):
    """How far the objective on all rows is above its minimum, relative to that."""
    residual = y - X @ coef
    return (residual.var() / 2 + ALPHA * np.abs(coef).sum()) / optimum - 1


def draw(path, radius, colours, exact, estimates, consensus, X, y):
    """Draw the photograph and its prediction, the weights, and the convergence."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    figure = plt.figure(figsize=(12, 7), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.05])
    draw_photograph(top.subplots(1, 3), radius, colours)
    weights, curves = bottom.subfigures(1, 2, width_ratios=[1, 2])
    draw_weights(weights, radius, exact.coef_)
    draw_convergence(curves.subplots(1, 2, sharey=True), exact, estimates, consensus, X, y)
    figure.savefig(path, dpi=110)


def draw_photograph(axes, radius, model):
    """The second photograph, its prediction, and four times the difference."""
    photo = load_sample_images().images[1]
    pixels = neighbourhoods(photo, radius)
    actual = pixels[..., -1].astype(float)
    features = pd.DataFrame(
        pixels[..., :-1].reshape(actual[..., 0].size, -1), columns=feature_names(radius)
    )
    predicted = model.predict(dd.from_pandas(features, npartitions=1)).compute()
    predicted = predicted.to_numpy().reshape(actual.shape)
    images = {
        "a photograph": actual,
        "each pixel predicted from those above and to the left": predicted,
        "4 x (photograph - prediction)": 127.5 + 4 * (actual - predicted),
    }
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image.clip(0, 255).astype(np.uint8))
        axis.set(title=title, xticks=[], yticks=[])


def draw_weights(figure, radius, coef):
    """The coefficients where their pixels are, one picture per colour."""
    used = f"{np.count_nonzero(coef)} of {coef.size} not zero"
    figure.suptitle(f"weights of those pixels, for {TARGET} ({used})", fontsize=10)
    largest = np.abs(coef).max()
    shades = SymLogNorm(largest / 100, vmin=-2 * largest, vmax=2 * largest)
    for axis, colour, weights in zip(
        figure.subplots(3, 1), COLOURS, coef.reshape(3, -1), strict=True
    ):
        grid = np.full((radius + 1) * (2 * radius + 1), np.nan)
        grid[: len(weights)] = weights
        grid = grid.reshape(radius + 1, -1)
        axis.imshow(grid, cmap="RdBu_r", norm=shades)
        axis.set(xticks=[], yticks=[], ylabel=f"from {colour}")
        axis.text(radius, radius, "?", ha="center", va="center")
        for row, column in np.argwhere(np.nan_to_num(grid)):
            value = grid[row, column]
            colour = "white" if abs(value) > largest / 4 else "black"
            style = {"ha": "center", "va": "center", "fontsize": 7, "color": colour}
            axis.text(column, row, f"{value:.1f}", **style)


def draw_convergence(axes, exact, estimates, consensus, X, y):
    """Excess of the objective over its minimum: by rows read, and by time for ADMM."""
    optimum = exact.history_["objective"][-1]
    for engine, (rows, coefs) in estimates.items():
        excess = [excess_objective(coef, X, y, optimum) for coef in coefs[: len(rows)]]
        size = 9 if engine == "sync" else 4  # one estimate only, under those of the others
        style = {"ms": size, "color": ENGINES[engine], "label": engine}
        axes[0].semilogy(rows / len(X), np.maximum(excess, 1e-12), "o-", **style)
    for engine, model in consensus.items():
        complete = model.history_["samples_seen"] == len(X)
        excess = np.abs(model.history_["objective"][complete] / optimum - 1)
        label = f"{engine}, {model.n_iter_} sweeps"
        seconds = model.history_["time"][complete]
        axes[1].semilogy(seconds, np.maximum(excess, 1e-12), color=ENGINES[engine], label=label)
    done = exact.history_["time"][-1]
    axes[1].axvline(done, color="black", ls=":", label="polish=True has ended, exact")
    axes[0].set(
        title="running estimates: exact on the rows read so far",
        xlabel="share of the rows read",
        ylabel="objective on all rows, relative excess",
    )
    axes[1].set(title="consensus ADMM alone (polish=False)", xlabel="seconds")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend()


def run(table, picture, radius):
    """Write `table`, fit it in every way, draw `picture`."""
    write_table(table, radius)
    pixels = dd.read_parquet(table)
    train, test = train_test_split(pixels, test_size=0.2, random_state=0, shuffle=False)
    features = feature_names(radius)
    X_train, y_train = train[features], train[TARGET]
    X_test, y_test = test[features], test[TARGET]
    lines, scaler, estimates = fit_from_parquet(X_train, y_train, X_test, y_test)

    X, T = (scaler.transform(rows).compute().to_numpy() for rows in (X_train, X_test))
    y, t = (column.compute().to_numpy(float) for column in (y_train, y_test))
    print(f"{len(X):,} rows x {X.shape[1]} columns to fit, {len(T):,} rows to score\n")
    lines += fit_in_memory(X, y, T, t)
    print_table(lines, null_loss=y.var())

    # For the picture: ADMM without the exact finish, and a lasso for each of the colours.
    consensus = {
        engine: AsyncLassoRegressor(ALPHA, engine=engine, polish=False, tol=1e-4).fit(X, y)
        for engine in ENGINES
    }
    exact = AsyncLassoRegressor(ALPHA).fit(X, y)
    colours = make_pipeline(StandardScaler(), AsyncLassoRegressor(ALPHA))
    colours.fit(X_train, train[COLOURS])
    draw(picture, radius, colours, exact, estimates, consensus, X, y)
    print(f"\nPicture: {picture.resolve()}")


def main():
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder to keep the table and picture in")
    parser.add_argument("--radius", type=int, default=3, help="of the neighbourhood, in pixels")
    options = parser.parse_args()
    if options.output is None:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder) / "pixels.parquet", Path("quickstart.png"), options.radius)
    else:
        options.output.mkdir(parents=True, exist_ok=True)
        run(options.output / "pixels.parquet", options.output / "quickstart.png", options.radius)


if __name__ == "__main__":
    main()
