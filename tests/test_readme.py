"""The Python of the README, of docs and of docstrings does what they say."""

from __future__ import annotations

import ast
import doctest
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Lasso

import dask_lasso
from dask_lasso import penalties

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_blocks_of_a_page_run_in_order(page):
    pytest.importorskip("matplotlib").use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    for block in blocks:
        if "cvxpy" in block:
            pytest.importorskip("cvxpy", reason="nothing else needs it")
        if "set_callbacks" in block:
            pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9 has none")
        exec(compile(block, page.name, "exec"), names)
    if page.name == "README.md":
        coef = names["model"].coef_
        assert np.flatnonzero(coef).tolist() == [0, 1]
        X, y = names["X"].compute(), names["y"].compute()
        exact = Lasso(0.1, tol=1e-12).fit(X, y).coef_
        np.testing.assert_allclose(coef, exact, rtol=0, atol=1e-8)


def said_by_the_page_of_troubles():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    return [message for cell in cells for message in re.findall("`(.*?)`", cell)]


def test_messages_of_the_page_of_troubles_are_messages():
    said = said_by_the_page_of_troubles()
    source = "".join(path.read_text() for path in Path(dask_lasso.__file__).parent.rglob("*.py"))
    # Strings that go on in the next line, and their gaps.
    source = re.sub(r"[\"']\s*f?[\"']", "", source)
    assert len(said) > 30
    assert [message for message in said if message not in source] == []


def written(node):
    """The words of a message, with {} for what is put in; None for what another function says."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
    if isinstance(node, ast.BinOp):
        return f"{written(node.left)}{written(node.right)}"
    return None


def messages():
    """What the package raises and warns of, and where."""
    for path in Path(dask_lasso.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else node
            is_one = call is not node or getattr(getattr(node, "func", None), "id", "") == "warn"
            if not (is_one and isinstance(call, ast.Call) and call.args):
                continue
            # What helpers make, and what is put after another message.
            if isinstance(call.func, ast.Name) and re.match("_|TimeIsUp", call.func.id):
                continue
            words = written(call.args[0])
            if words is not None:
                yield words, f"{path.name}:{node.lineno}"


def test_the_page_of_troubles_has_every_message():
    """But for those that begin with the name of an argument, or of a method."""
    public = [getattr(dask_lasso, name) for name in dask_lasso.__all__ if name != "__version__"]
    public += [getattr(penalties, name) for name in penalties.__all__]
    named = {name for one in public for name in (*vars(one), *arguments_of(one))}
    said = said_by_the_page_of_troubles()
    lacks = {}
    for words, where in messages():
        first = re.match(r"\w*", words).group()
        if first and first not in named and not any(message in words for message in said):
            lacks[where] = words
    # What is raised to be caught at once; and what is said of a row, which the page has.
    inner = {"complex values", "dates are no numbers", "Input {} {}, {}."}
    assert {where: words for where, words in lacks.items() if words not in inner} == {}


def arguments_of(one):
    methods = [getattr(one, name) for name in dir(one) if not name.startswith("_")]
    called = [one, *filter(callable, methods)] if inspect.isclass(one) else [one]
    return [name for function in called for name in inspect.signature(function).parameters]


def test_the_reference_has_every_name():
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    names = set(re.findall(r"^.. auto(?:class|function):: (\w+)$", page, re.MULTILINE))
    assert names == set(dask_lasso.__all__) - {"__version__"}


def modules():
    return [info.name for info in pkgutil.walk_packages(dask_lasso.__path__, "dask_lasso.")]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_docstrings(name):
    if name.endswith((".displays", "_display", ".coefficients")):
        pytest.importorskip("matplotlib").use("Agg")
    result = doctest.testmod(import_module(name))
    assert result.failed == 0


def test_what_a_user_calls_has_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in sorted(set(dask_lasso.__all__) - {"__version__"}):
        tests = finder.find(getattr(dask_lasso, name), name)
        assert any(test.examples for test in tests), name
