"""The README's Python does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from sklearn.linear_model import Lasso

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
