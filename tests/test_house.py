"""The house rules that code can be asked about; that arrows point down is `lint-imports`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dask_lasso

ROOT = Path(dask_lasso.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}

MOST_PARAMETERS = 8  # but for what a user calls: public constructors, `lasso_path`
MOST_LINES = 450
# The door to the cluster, behind which are the slow imports of dask.
LATE = {"places/input.py"}

each_file = pytest.mark.parametrize("file", FILES)


def functions(tree):
    """Every function of a module, with the name of its class."""
    for node in ast.walk(tree):
        owner = node.name if isinstance(node, ast.ClassDef) else None
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield owner, child


@each_file
def test_no_file_is_long(file):
    assert len(FILES[file].read_text().splitlines()) <= MOST_LINES


@each_file
def test_no_function_has_many_parameters(file):
    for owner, function in functions(TREES[file]):
        called = owner if function.name == "__init__" else function.name
        if called in dask_lasso.__all__:
            continue
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names = [name for name in names if name not in ("self", "cls")]
        names += [rest.arg for rest in (given.vararg, given.kwarg) if rest]
        assert len(names) <= MOST_PARAMETERS, f"{function.name}({', '.join(names)})"


@each_file
def test_no_private_name_is_taken_from_another_module(file):
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.ImportFrom) and node.level:
            taken = [name.name for name in node.names]
            private = [name for name in taken if name.startswith("_") and name != "__version__"]
            assert not private, f"line {node.lineno}"


@pytest.mark.parametrize("file", sorted(FILES.keys() - LATE))
def test_no_import_of_the_package_is_inside_a_function(file):
    for _, function in functions(TREES[file]):
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                inside = node.level > 0 or (node.module or "").startswith("dask_lasso")
            else:
                inside = isinstance(node, ast.Import) and any(
                    name.name.startswith("dask_lasso") for name in node.names
                )
            assert not inside, f"line {node.lineno}"


def imported(nodes):
    """Packages that statements import, but for this one."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@each_file
def test_what_is_imported_is_installed(file):
    """Nothing but the dependencies; what is optional, where it is used."""
    needed = {re.match("[a-z-]+", line)[0] for line in PROJECT["dependencies"]}
    allowed = {name.replace("scikit-learn", "sklearn") for name in needed}
    allowed |= {"joblib", "cloudpickle"}  # without which neither scikit-learn nor dask is there
    allowed |= sys.stdlib_module_names
    optional = {"pandas", "matplotlib", "xarray", "polars", "rich", "bokeh"}
    assert set(imported(TREES[file].body)) <= allowed
    assert set(imported(ast.walk(TREES[file]))) <= allowed | optional


def is_public(name):
    return not name.startswith("_") or name == "__init__"


def public_functions(tree):
    """Public functions of a module and public methods of its public classes."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) and is_public(node.name) else [node]
        for child in inside:
            if isinstance(child, ast.FunctionDef) and is_public(child.name):
                yield child


@each_file
def test_public_functions_are_typed(file):
    for function in public_functions(TREES[file]):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        named = [argument for argument in arguments if argument is not None]
        bare = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{function.name}: {', '.join(bare)}"
        assert function.returns is not None or function.name == "__init__", function.name


@pytest.mark.slow
def test_an_editor_knows_what_a_fit_has(tmp_path, monkeypatch):
    """In a moment where mypy has been run before, whose cache this is."""
    pytest.importorskip("mypy", reason="it is in the extra `test`")
    script = tmp_path / "fit.py"
    script.write_text(
        "import numpy as np\n"
        "from dask_lasso import AsyncElasticNetRegressor, AsyncLassoCV, AsyncLassoRegressor\n"
        "X, y = np.ones((3, 2)), np.ones(3)\n"
        "reveal_type(AsyncLassoRegressor().fit(X, y))\n"
        "reveal_type(AsyncLassoRegressor().fit(X, y).coef_)\n"
        "reveal_type(AsyncElasticNetRegressor().partial_fit(X, y).dual_gap_)\n"
        "reveal_type(AsyncLassoCV().fit(X, y).alpha_)\n"
    )
    checkout = Path(__file__).parents[1]
    monkeypatch.setenv("MYPYPATH", str(checkout))  # nothing to it where the package is installed
    settings = checkout / "pyproject.toml"
    options = ["--config-file", str(settings), "--cache-dir", str(checkout / ".mypy_cache")]
    run = [sys.executable, "-m", "mypy", *options, str(script)]
    known = subprocess.run(run, capture_output=True, text=True, check=False).stdout
    types = [line.split('"')[1] for line in known.splitlines() if "Revealed type" in line]
    assert len(types) == 4, known
    assert types[0].endswith("AsyncLassoRegressor")
    assert "ndarray" in types[1]
    assert "float" in types[2]
    assert types[3].endswith("float")
