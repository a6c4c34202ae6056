"""The documentation: python -m sphinx -W --keep-going docs docs/_build (CONTRIBUTING.md)."""

import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)  # of the workers of examples

from dask_lasso import __version__  # noqa: E402

project, author = "dask_lasso", "The dask_lasso developers"
copyright = author
version = release = __version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "numpydoc",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py"]
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = "dask_lasso"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_sourcelink_suffix = ""

myst_heading_anchors = 3
numpydoc_show_class_members = False
# Of the estimators, what scikit-learn's base classes bring is on scikit-learn's pages.
_SKLEARN = "MultiOutputMixin, RegressorMixin, ClassifierMixin, CallbackSupport, BaseEstimator"
autodoc_default_options = {
    "members": True,
    "inherited-members": _SKLEARN,
    "exclude-members": "get_metadata_routing, set_fit_request, set_partial_fit_request,"
    " set_predict_request, set_score_request, set_decision_function_request,"
    " set_predict_proba_request, set_predict_log_proba_request",
}
autodoc_typehints = "none"  # they are in the docstrings

# Only what takes seconds is run; the others are shown.
sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": "table_to_predictions|model_selection|tumours_and_digits|doctor_visits",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "copyfile_regex": "",
    "within_subsection_order": "FileNameSortKey",
}
warnings.filterwarnings("ignore", category=UserWarning)
