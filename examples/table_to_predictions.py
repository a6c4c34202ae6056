"""
A table with ids, dates, categories and gaps: from Parquet to predictions in Parquet
====================================================================================

How much a shop sells on a day, of a table as they are: an id that says nothing, a date, text
columns, missing values. The recipe is a scikit-learn pipeline, whose steps are functions of
data frames and dask-ml's encoders, and whose end is a lasso; it is fitted to last year's rows
and predicts this year's. Predictions are written beside the ids, partition by partition.

No row is ever held but by the worker that has its partition. The same lines run on a table
of terabytes on a cluster: then `orders` is a folder in a bucket, and there is a Client.
"""

import tempfile
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask_ml.preprocessing import Categorizer, DummyEncoder
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dask_lasso import AsyncLassoRegressor

# %%
# A table
# -------
# 20,000 orders of two years, in Parquet files of a month each. The weather is missing at
# times, and so is the price.


def write_orders(folder, n_orders=20_000, seed=0):
    """Write a table of orders to Parquet."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.integers(0, 730, n_orders))
    table = pd.DataFrame(
        {
            "order_id": [f"{number:08x}" for number in rng.permutation(n_orders)],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(days, unit="D"),
            "shop": rng.choice(["Bern", "Chur", "Genf", "Zug"], n_orders),
            "weather": rng.choice(["dry", "rain", "snow", None], n_orders, p=[0.6, 0.2, 0.1, 0.1]),
            "price": np.where(rng.random(n_orders) < 0.05, np.nan, rng.gamma(4.0, 5.0, n_orders)),
        }
    )
    table["amount"] = (
        40
        - 0.6 * table.price.fillna(20)
        + 8 * (table.shop == "Zug")
        - 6 * (table.weather == "snow")
        + 5 * (table.day.dt.weekday >= 5)
        + 3 * rng.normal(size=n_orders)
    )
    months = table.day.dt.to_period("M")
    for number, (_, month) in enumerate(table.groupby(months)):
        month.to_parquet(folder / f"part-{number:02d}.parquet", index=False)


folder = Path(tempfile.mkdtemp())
orders, predictions = folder / "orders", folder / "predictions"
orders.mkdir()
write_orders(orders)
table = dd.read_parquet(str(orders))
table.head()

# %%
# Numbers of dates and gaps
# -------------------------
# A lasso takes numbers. Of the date it is told what may matter: how far the year is, and whether
# it is a weekend. A gap in numbers becomes a typical value and a column that says that there was
# one; a gap in text is a category like another. Ids are dropped.

TYPICAL_PRICE = float(table["price"].quantile(0.5).compute())


def features(frame):
    """Columns that are numbers or text, none of them missing; of pandas and of dask."""
    day = frame["day"].dt
    return frame[["shop"]].assign(
        weather=frame["weather"].fillna("unknown"),
        price=frame["price"].fillna(TYPICAL_PRICE),
        no_price=frame["price"].isna().astype(float),
        weekend=(day.weekday >= 5).astype(float),
        year_sin=np.sin(2 * np.pi * day.month / 12),
        year_cos=np.cos(2 * np.pi * day.month / 12),
    )


# %%
# The pipeline
# ------------
# `Categorizer` learns which values the text columns have, `DummyEncoder` makes a column of each.

pipeline = make_pipeline(
    FunctionTransformer(features),
    Categorizer(columns=["shop", "weather"]),
    DummyEncoder(columns=["shop", "weather"]),
    AsyncLassoRegressor(alpha=0.05),
)
is_past = table["day"] < "2025-01-01"
past = table[is_past]
pipeline.fit(past, past["amount"])
model = pipeline[-1]
print(model.coefficients().round(2).sort_values())

# %%
# Predictions beside the ids
# --------------------------
# A prediction of a data frame is a column with the same index and partitions, so it can be
# assigned. Nothing has been computed until it is written.

future = table[~is_past]
predicted = future[["order_id", "day"]].assign(amount=pipeline.predict(future))
predicted.to_parquet(str(predictions), write_index=False)

written = dd.read_parquet(str(predictions)).compute()
print(written.head(3))
r2 = pipeline.score(future, future["amount"])
print(f"{len(written)} predictions, R^2 of the second year {r2:.3f}")
