"""The examples of the client's docstrings, against a real server with MLflow and Ray behind it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import jupyter_ext.client

pytestmark = pytest.mark.ray

_MODULES = [module.name for module in pkgutil.iter_modules(jupyter_ext.client.__path__, "jupyter_ext.client.")]


@pytest.mark.parametrize("name", ["jupyter_ext.client", *_MODULES])
def test_examples(name: str, client: Any) -> None:
    X, y = load_breast_cancer(as_frame=True, return_X_y=True)
    X = X.sample(frac=1, random_state=0)
    y = y[X.index]
    known = {"client": client, "X": X, "model": make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=known):
        runner.run(test, out=told.append)
    assert not told, "".join(told)
