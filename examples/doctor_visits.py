"""
Counts: how often people see a doctor, and what they pay for it
===============================================================

The RAND Health Insurance Experiment gave families insurances of different generosity, by lot, and
counted visits: 20,190 person-years, which statsmodels ships. A Poisson regression with all
products of two variables, and an l1 penalty that chooses among them.
"""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import PolynomialFeatures
from statsmodels.datasets import randhie

from dask_lasso import AsyncLassoCV, CVDisplay

# %%
# Columns
# -------
# Nine variables and their products, in units of their standard deviations. The rows of a person,
# and of a plan, follow each other. So runs of 50 rows stay together, in folds and in the fifth of
# the rows that no fit knows.

table = randhie.load_pandas().data
visits, variables = table["mdvis"].to_numpy(), table.drop(columns="mdvis")
products = PolynomialFeatures(2, interaction_only=True, include_bias=False)
values = products.fit_transform(variables)
names = products.get_feature_names_out()
is_varying = values.std(axis=0) > 1e-9
values, names = values[:, is_varying] / values[:, is_varying].std(axis=0), names[is_varying]
run = np.arange(len(visits)) // 50
is_new = run % 5 == 0


def chunks(rows):
    """Some rows as dask arrays, on which the lines below would be the same."""
    X = da.from_array(values[rows], chunks=(4_000, len(names))).persist()
    return X, da.from_array(visits[rows], chunks=4_000).persist()


# %%
# Poisson regression
# ------------------
# ``predict`` is a number of visits, ``score`` the share of the deviance that is explained, D^2.

model = AsyncLassoCV(loss="poisson", alphas=20, cv=5)
model.fit(*chunks(~is_new), groups=run[~is_new])
visits_d2 = model.score(*chunks(is_new))
print(f"{np.sum(model.coef_ != 0)} of {len(names)} columns, duality gap {model.dual_gap_:.1e}")
print(f"D^2 of other people {visits_d2:.3f}. The largest effects of a standard deviation more:")
for column in np.argsort(-np.abs(model.coef_))[:8]:
    print(f"  {names[column]:15s} {np.exp(model.coef_[column]) - 1:+.1%} visits")
CVDisplay.from_estimator(model)
plt.show()
