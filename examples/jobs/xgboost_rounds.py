"""XGBoost, some rounds at a time: each call of ``train`` goes on with the trees of the one before.

Submit it with ``%submit_job examples/jobs/xgboost_rounds.py --fetch model --wait``, or run it with Python.
"""

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from jupyter_ext.jobs import checkpoint, progress

X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, random_state=0)
data, test = xgboost.DMatrix(X, y), xgboost.DMatrix(X_test, y_test)
parameters = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.1, "seed": 0, "nthread": 1}
rounds, at_once = 60, 10

saved = checkpoint.latest()
model = xgboost.Booster(model_file=saved.state) if saved else None
for done in range(saved.step + at_once if saved else at_once, rounds + 1, at_once):
    scores = {}
    model = xgboost.train(
        parameters, data, at_once, xgb_model=model, evals=[(test, "test")], evals_result=scores, verbose_eval=False
    )
    checkpoint.save(done, model.save_raw("ubj"))
    progress(done, rounds, logloss=scores["test"]["logloss"][-1])
