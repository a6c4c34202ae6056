"""Examples do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Lasso, PoissonRegressor
from sklearn.metrics import d2_tweedie_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_from_a_table_to_predictions_beside_the_ids():
    pytest.importorskip("dask_ml")
    found = runpy.run_path(str(EXAMPLES / "table_to_predictions.py"))
    table = pd.read_parquet(found["orders"])
    predictions = pd.read_parquet(found["predictions"])
    future = table[table.day >= "2025-01-01"]
    assert sorted(predictions.order_id) == sorted(future.order_id)
    assert table.drop(columns="price").isna().any().to_dict()["weather"]

    past, features = table[table.day < "2025-01-01"], found["features"]
    encoder = make_column_transformer(
        (OneHotEncoder(), ["shop", "weather"]), remainder="passthrough"
    )
    plain = make_pipeline(encoder, Lasso(0.05, tol=1e-12)).fit(features(past), past.amount)
    expected = pd.Series(plain.predict(features(future)), future.order_id)
    np.testing.assert_allclose(
        predictions.amount, expected[predictions.order_id], rtol=1e-6, atol=1e-6
    )


@pytest.mark.slow
def test_classes_are_told_as_scikit_learn_tells_them(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = runpy.run_path(str(EXAMPLES / "tumours_and_digits.py"))
    assert found["tumour_auc"] >= 0.98
    assert (
        abs(found["digit_accuracy"] - found["peer"].score(found["X_test"], found["y_test"])) < 0.01
    )


@pytest.mark.slow
def test_visits_are_predicted_as_scikit_learn_predicts_them(monkeypatch):
    pytest.importorskip("statsmodels")
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = runpy.run_path(str(EXAMPLES / "doctor_visits.py"))
    new, model = found["is_new"], found["model"]
    rows, visits = found["values"], found["visits"]
    score = d2_tweedie_score(visits[new], model.predict(rows[new]), power=1)
    assert found["visits_d2"] == pytest.approx(score, rel=1e-9)
    plain = PoissonRegressor(alpha=1e-3, max_iter=10**4).fit(rows[~new], visits[~new])
    assert score >= plain.score(rows[new], visits[new]) - 0.01
