"""A loop of one's own: logistic regression by gradient descent, saved every 50 steps and when the job is told to stop.

Submit it with ``%submit_job examples/jobs/plain_loop.py --fetch weights --wait``, or run it with Python.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer

from jupyter_ext.jobs import checkpoint, progress

X, y = load_breast_cancer(return_X_y=True)
X = np.c_[(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))]
steps = 400

saved = checkpoint.latest()
weights, start = (saved.state, saved.step + 1) if saved else (np.zeros(X.shape[1]), 0)
for step in range(start, steps):
    chance = 1 / (1 + np.exp(-X @ weights))
    weights -= 0.1 * X.T @ (chance - y) / len(y)
    stop = checkpoint.stopping()
    if stop or step % 50 == 49:
        checkpoint.save(step, weights)
        progress(step + 1, steps, accuracy=np.mean((chance > 0.5) == y))
    if stop:
        break
