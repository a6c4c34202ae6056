"""The README's Python and the examples of docstrings do what they say."""

from __future__ import annotations

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Lasso

import dask_lasso

README = Path(__file__).parents[1] / "README.md"


def test_the_snippets_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    coef = names["model"].coef_
    assert np.flatnonzero(coef).tolist() == [0, 1]
    X, y = names["X"].compute(), names["y"].compute()
    exact = Lasso(0.1, tol=1e-12).fit(X, y).coef_
    np.testing.assert_allclose(coef, exact, rtol=0, atol=1e-8)


def modules():
    return [info.name for info in pkgutil.walk_packages(dask_lasso.__path__, "dask_lasso.")]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_docstrings(name):
    if name.endswith(".displays"):
        pytest.importorskip("matplotlib").use("Agg")
    result = doctest.testmod(import_module(name))
    assert result.failed == 0


def test_what_a_user_calls_has_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in sorted(set(dask_lasso.__all__) - {"__version__"}):
        tests = finder.find(getattr(dask_lasso, name), name)
        assert any(test.examples for test in tests), name
