"""
Real text without a download: how long is a function, by the words of its docstring?
====================================================================================

The text is the docstrings of the functions in the source files of the installed scientific
packages; the target is the logarithm of the number of lines that follow the docstring.
Words and pairs of words are hashed into 2**20 columns, in sparse chunks that Dask makes
where they are fitted. alpha is chosen on a part of the docstrings that the fits do not
see, and what is reported is of a third part, that nothing was chosen on.

python examples/text_features.py
"""

from __future__ import annotations

import ast
import importlib.util
import math
import time
from collections import Counter
from pathlib import Path
from zlib import crc32

import dask
import dask.array as da
import numpy as np
from distributed import Client
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from dask_lasso import AsyncLassoRegressor

PACKAGES = ["numpy", "scipy", "sklearn", "pandas", "matplotlib", "dask", "distributed"]
COLUMNS = 2**20
FILES_PER_CHUNK = 100
WORDS = HashingVectorizer(n_features=COLUMNS, ngram_range=(1, 2), alternate_sign=False)
PARTS = {"training": (0, 1, 2), "choice": (3,), "test": (4,)}


def source_files():
    """Python files of the packages that are installed, their tests left out."""
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is not None:
            for path in sorted(Path(found.origin).parent.rglob("*.py")):
                if "tests" not in path.parts:
                    yield path


def functions(path):
    """The docstring of each function in a file, and the number of lines after it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(node.body) > 1:
            text = ast.get_docstring(node)
            if text:
                yield text, node.end_lineno - node.body[0].end_lineno


@dask.delayed
def read(paths):
    """Texts, their words in hashed columns, and targets; a tuple of each for every part.

    A docstring is always in the same part, so that copies of it are not in two.
    """
    pairs = dict(pair for path in paths for pair in functions(path))
    parts = {}
    for part, numbers in PARTS.items():
        texts = [text for text in pairs if crc32(text.encode()) % 5 in numbers]
        X = sparse.csr_array(WORDS.transform(texts or [""]))[: len(texts)]
        parts[part] = texts, X, np.log([float(pairs[text]) for text in texts])
    return parts


def rows(chunks, part):
    """X and y of a part as dask arrays, in chunks of sizes that nobody knows."""
    meta = sparse.csr_array((0, COLUMNS))
    X = [da.from_delayed(chunk[part][1], (math.nan, COLUMNS), meta=meta) for chunk in chunks]
    y = [da.from_delayed(chunk[part][2], (math.nan,), dtype=float) for chunk in chunks]
    return da.concatenate(X), da.concatenate(y)


@dask.delayed
def sums_of_squares(chunk):
    """Of each column, over the training rows of a chunk."""
    X = chunk["training"][1]
    return X.multiply(X).sum(axis=0)


@dask.delayed
def count_words(chunk, columns):
    """How often each word is in the texts, of the words that are hashed into `columns`."""
    analyse = WORDS.build_analyzer()
    counts = Counter(word for text in chunk["training"][0] for word in analyse(text))
    one_by_one = HashingVectorizer(
        n_features=COLUMNS, alternate_sign=False, analyzer=lambda word: [word]
    )
    hashed = one_by_one.transform(counts).indices
    return Counter(
        {
            (column, word): count
            for column, (word, count) in zip(hashed.tolist(), counts.items(), strict=True)
            if column in columns
        }
    )


def main():
    """Choose alpha, fit, and print what came of it."""
    began = time.perf_counter()
    files = list(source_files())
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        chunks = client.persist(
            [read(files[i : i + FILES_PER_CHUNK]) for i in range(0, len(files), FILES_PER_CHUNK)]
        )
        data = {part: client.persist(rows(chunks, part)) for part in PARTS}
        sizes = {part: len(y.compute()) for part, (_, y) in data.items()}
        print(
            f"{len(files)} files; docstrings: "
            + ", ".join(f"{part} {size}" for part, size in sizes.items())
        )
        models = []
        model = AsyncLassoRegressor(warm_start=True, tol=1e-3)
        for alpha in np.geomspace(4e-3, 8e-5, 5):
            model.set_params(alpha=alpha).fit(*data["training"])
            scores = model.score(*data["training"]), model.score(*data["choice"])
            models.append((scores[1], alpha, model.coef_, model.intercept_))
            print(
                f"alpha {alpha:.2e}: {np.count_nonzero(model.coef_):5d} columns not zero,"
                f" {model.n_passes_} passes, R^2 {scores[0]:.3f} training, {scores[1]:.3f} choice"
            )
        _, alpha, model.coef_, model.intercept_ = max(models, key=lambda fitted: fitted[0])
        X, y = data["test"]
        target, prediction = dask.compute(y, model.predict(X))
        baseline = data["training"][1].mean().compute()
        errors = [np.sqrt(np.mean((target - guess) ** 2)) for guess in (prediction, baseline)]
        print(
            f"test, alpha {alpha:.2e}: R^2 {model.score(X, y):.3f}; root mean squared error"
            f" {errors[0]:.3f}, of the mean {errors[1]:.3f} (natural logarithm of lines)"
        )
        # The largest coefficients are those of the rarest words: take them by what they explain.
        squares = np.sum(dask.compute([sums_of_squares(chunk) for chunk in chunks])[0], axis=0)
        largest = np.argsort(-np.abs(model.coef_) * np.sqrt(squares))[:24].tolist()
        counted = dask.compute([count_words(chunk, set(largest)) for chunk in chunks])[0]
        words = {}
        for (column, word), _ in sum(counted, Counter()).most_common():
            words.setdefault(column, word)
        for sign, name in ((1, "long"), (-1, "short")):
            named = [repr(words[column]) for column in largest if sign * model.coef_[column] > 0]
            print(f"words of {name} functions: {', '.join(named)}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
