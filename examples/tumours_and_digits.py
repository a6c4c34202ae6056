"""
Classes: which measurements tell a malignant tumour, and which pixels a digit
=============================================================================

Two classes, with alpha chosen by cross-validation, and ten classes through the softmax, on data
that scikit-learn ships. The arrays are small and in chunks; of a table that fits no memory the
lines would be the same.
"""

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from dask_lasso import AsyncLogisticRegression, AsyncLogisticRegressionCV, CVDisplay

# %%
# Two classes
# -----------
# 569 tumours, 30 measurements in units of their own: ``standardize`` penalises them alike. The
# rule of one standard error takes the fewest measurements that are as good as the best. A second
# pass gives the area under the ROC curve of all folds and alphas.

cancer = load_breast_cancer(as_frame=True)
labels = cancer.target_names[cancer.target]
X, X_test, y, y_test = train_test_split(
    cancer.data.to_numpy(), labels, test_size=0.3, stratify=labels, random_state=0
)
chunks = da.from_array(X, chunks=(100, 30)), da.from_array(y, chunks=100)
model = AsyncLogisticRegressionCV(scoring="roc_auc", rule="1se", standardize=True, alphas=20)
model.fit(*chunks)

used = model.coef_[0] != 0
tumour_auc = roc_auc_score(y_test == model.classes_[1], model.decision_function(X_test))
print(f"alpha {model.alpha_:.4f}, duality gap {model.dual_gap_:.1e}")
print(f"area under the ROC curve of other tumours: {tumour_auc:.3f}, from {used.sum()} columns:")
for name, coef in zip(cancer.data.columns[used], model.coef_[0, used], strict=True):
    print(f"  {name:25s} {coef:+.3g}")
CVDisplay.from_estimator(model)

# %%
# Ten classes
# -----------
# 1,797 digits of 8 x 8 pixels. The objective is that of scikit-learn's ``LogisticRegression`` with
# ``C = 1 / (n alpha)``, and so are the coefficients; what is zero is exactly zero.

digits = load_digits()
images = digits.data / 16
X, X_test, y, y_test = train_test_split(images, digits.target, test_size=0.3, random_state=0)
softmax = AsyncLogisticRegression(alpha=2e-3, tol=1e-8)
softmax.fit(da.from_array(X, chunks=(300, 64)), da.from_array(y, chunks=300))
peer = LogisticRegression(C=1 / (len(X) * 2e-3), solver="saga", tol=1e-3, max_iter=10**4)
peer.set_params(**{"l1_ratio": 1.0} if peer.penalty != "l2" else {"penalty": "l1"}).fit(X, y)

digit_accuracy = softmax.score(X_test, y_test)
print(f"accuracy {digit_accuracy:.3f} (scikit-learn's {peer.score(X_test, y_test):.3f})")
print(f"{np.mean(softmax.coef_ == 0):.0%} of the coefficients are zero, {softmax.n_passes_} passes")

figure, axes = plt.subplots(2, 5, figsize=(8, 3.5), layout="constrained")
most = np.abs(softmax.coef_).max()
for digit, (ax, coef) in enumerate(zip(axes.flat, softmax.coef_, strict=True)):
    ax.imshow(coef.reshape(8, 8), cmap="RdBu_r", vmin=-most, vmax=most)
    ax.set(title=str(digit), xticks=[], yticks=[])
figure.suptitle("What speaks for a digit (red), and against it (blue)")
plt.show()
