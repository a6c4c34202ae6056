"""docs/translations.md against the programs themselves, as far as they can be had.

python benchmarks/translations.py             # all
python benchmarks/translations.py glmnet      # one

glmnet is R's (Debian: r-cran-glmnet). Spark and H2O need Java, and are installed into environments
of their own, in benchmarks/.environments; their servers listen on this machine alone, until
the script ends.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from dask_lasso import AsyncElasticNetRegressor, AsyncLogisticRegression

HERE = Path(__file__).parent
N, K, LAM, MIX = 300, 8, 0.05, 0.6

GLMNET = """
library(glmnet)
d <- as.matrix(read.csv("rows.csv"))
X <- d[, 1:8]; y <- d[, 9]; b <- d[, 10]; n <- d[, 11]; w <- d[, 12]
show <- function(name, family, target, weights = rep(1, nrow(X)), ...) {
  m <- glmnet(X, target, family = family, weights = weights, lambda = 0.05, thresh = 1e-30,
              maxit = 1e7, ...)
  cat(name, sprintf("%.17g", as.vector(m$beta)), "\\n", sep = " ")
}
show("lasso", "gaussian", y, alpha = 1)
show("elastic net", "gaussian", y, alpha = 0.6)
show("weights", "gaussian", y, weights = w, alpha = 0.6)
show("as they are", "gaussian", y, alpha = 0.6, standardize = FALSE)
show("limits", "gaussian", y, alpha = 1, lower.limits = -0.2, upper.limits = 1)
show("classes", "binomial", b, alpha = 0.6)
show("counts", "poisson", n, alpha = 0.6)
"""

SPARK = """
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import LinearRegression
from pyspark.ml.classification import LogisticRegression
local = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1",
         "spark.driver.host": "127.0.0.1"}
builder = SparkSession.builder.master("local[1]")
for name, value in local.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
d = pd.read_csv("rows.csv").to_numpy()
rows = [(Vectors.dense(r[:8]), float(r[8]), float(r[9]), float(r[11])) for r in d]
frame = spark.createDataFrame(rows, ["features", "y", "b", "w"])
same = dict(solver="l-bfgs", regParam=0.05, elasticNetParam=0.6, tol=1e-15, maxIter=5000)
def show(name, model):
    print(name, *map(repr, map(float, model.fit(frame).coefficients)))
show("elastic net", LinearRegression(labelCol="y", **same))
show("as they are", LinearRegression(labelCol="y", standardization=False, **same))
del same["solver"]
show("classes", LogisticRegression(labelCol="b", **same))
show("classes as they are", LogisticRegression(labelCol="b", standardization=False, **same))
spark.stop()
"""

H2O = """
import h2o, pandas as pd
from h2o.estimators import H2OGeneralizedLinearEstimator as GLM
h2o.init(bind_to_localhost=True, ip="127.0.0.1", nthreads=1, log_dir="logs")
frame = h2o.H2OFrame(pd.read_csv("rows.csv"))
frame["b"] = frame["b"].asfactor()
names = frame.columns[:8]
def show(name, target, family, **settings):
    m = GLM(family=family, lambda_=0.05, alpha=0.6, beta_epsilon=1e-14, objective_epsilon=1e-16,
            gradient_epsilon=1e-14, max_iterations=10000, **settings)
    m.train(names, target, frame)
    print(name, *[repr(m.coef()[column]) for column in names])
show("elastic net", "y", "gaussian", solver="COORDINATE_DESCENT")
show("as they are", "y", "gaussian", solver="COORDINATE_DESCENT", standardize=False)
show("classes", "b", "binomial", solver="IRLSM")
h2o.cluster().shutdown()
"""


def rows():
    """Columns of all units, and y, classes, counts and weights."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, K)) * np.logspace(-1, 1, K) + rng.normal(size=K)
    eta = X @ (np.array([1, 0, -1, 0, 0.5, 0, 0, 0.3]) / X.std(axis=0))
    y = 3 * eta + rng.normal(size=N)
    classes = rng.uniform(size=N) < 1 / (1 + np.exp(eta.mean() - eta))
    counts = rng.poisson(np.exp((eta - eta.mean()) / 2))
    return X, y, classes * 1.0, counts * 1.0, rng.uniform(0.5, 2, N)


def ours(target, l1, l2=0.0, *, X, weights=None, loss="squared", **settings):
    """Coefficients here."""
    settings = dict(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-14, **settings)
    if loss == "classes":
        model = AsyncLogisticRegression(**settings)
    else:
        model = AsyncElasticNetRegressor(loss=loss, **settings)
    return np.ravel(model.fit(X, target, weights).coef_)


def here():
    """The same models by docs/translations.md."""
    X, y, classes, counts, w = rows()
    s, s1, q = y.std(), y.std(ddof=1), np.sqrt(N / (N - 1))
    sw = np.sqrt(np.average((y - np.average(y, weights=w)) ** 2, weights=w))
    unit = dict(X=X, standardize=True)
    raw = dict(X=X)
    l1, l2 = LAM * MIX, LAM * (1 - MIX)
    return {
        "glmnet": {
            "lasso": ours(y, LAM, **unit),
            "elastic net": ours(y, l1, l2 / s, **unit),
            "weights": ours(y, l1, l2 / sw, weights=w, **unit),
            "as they are": ours(y, l1, l2 / s, **raw),
            "limits": ours(y, LAM, bounds=(-0.2, 1), **unit),
            "classes": ours(classes, l1, l2, loss="classes", **unit),
            "counts": ours(counts, l1, l2, loss="poisson", **unit),
        },
        "Spark": {
            "elastic net": ours(y, l1 * q, l2 * q**2 / s1, **unit),
            "as they are": ours(y, l1, l2 / s1, **raw),
            "classes": ours(classes, l1 * q, l2 * q**2, loss="classes", **unit),
            "classes as they are": ours(classes, l1, l2, loss="classes", **raw),
        },
        "H2O": {
            "elastic net": ours(y, l1 * q, l2 * q**2, **unit),
            "as they are": ours(y, l1, l2, **raw),
            "classes": ours(classes, l1 * q, l2 * q**2, loss="classes", **unit),
        },
    }


PROGRAMS = {
    "glmnet": (None, GLMNET),
    "Spark": (["pyspark", "pandas<3", "numpy"], SPARK),
    "H2O": (["h2o", "pandas<3"], H2O),
}


def there(name, folder):
    """Coefficients of a program, by the names of its fits."""
    packages, code = PROGRAMS[name]
    if packages is None:
        call = ["Rscript", "-e", code]
    else:
        environment = HERE / ".environments" / name
        python = environment / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        call = [python, "-c", code]
    found = subprocess.run(call, cwd=folder, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr[-2000:])
    coefs = {}
    for line in found.stdout.splitlines():
        words = line.split()
        try:
            coefs[" ".join(words[:-K])] = np.array(list(map(float, words[-K:])))
        except ValueError:  # what the program says of itself
            continue
    return coefs


def main(*names):
    X, *targets = rows()
    with tempfile.TemporaryDirectory() as folder:
        header = ",".join([f"x{j}" for j in range(K)] + ["y", "b", "n", "w"])
        table = np.column_stack([X, *targets])
        np.savetxt(
            Path(folder) / "rows.csv", table, "%.17g", delimiter=",", header=header, comments=""
        )
        print("| program | fit | largest difference, of the largest coefficient |")
        print("|---|---|---|")
        expected = here()
        for name in names or PROGRAMS:
            try:
                found = there(name, folder)
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                print(f"| {name} | could not be run: {str(error).strip().splitlines()[-1]} | |")
                continue
            units = X.std(axis=0)
            for fit, coef in expected[name].items():
                difference = np.abs((found[fit] - coef) * units).max()
                relative = difference / np.abs(coef * units).max()
                print(f"| {name} | {fit} | {relative:.1e} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
