"""Scikit-learn, one pass over the data at a time: whatever has ``partial_fit`` can go on from a checkpoint.

Submit it with ``%submit_job examples/jobs/sklearn_partial_fit.py --fetch model --wait``, or run it with Python.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import shuffle

from jupyter_ext.jobs import checkpoint, progress

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, random_state=0)
scaler = StandardScaler().fit(X)
X, X_test = scaler.transform(X), scaler.transform(X_test)
epochs = 12

saved = checkpoint.latest()
model, start = (saved.state, saved.step + 1) if saved else (SGDClassifier(random_state=0), 0)
for epoch in range(start, epochs):
    # The order of an epoch is drawn from its number, so that it is the same when it is done again.
    model.partial_fit(*shuffle(X, y, random_state=epoch), classes=range(10))
    checkpoint.save(epoch, model)
    progress(epoch + 1, epochs, accuracy=model.score(X_test, y_test))
