"""Saving models of each kind and loading them again, with MLflow itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_ext.errors import Invalid, Unavailable
from jupyter_ext.registry import flavors
from jupyter_ext.registry.mlmodel import read_facts

# What importing MLflow warns of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def mlflow() -> Any:
    return pytest.importorskip("mlflow")


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"area": [1.0, 2.0, 3.0, 4.0], "width": [0.1, 0.2, 0.3, 0.4]})


def test_a_pipeline_comes_back_fitted(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, ["no", "no", "yes", "yes"])
    flavors.save(model, tmp_path / "model", example=frame.head(2))
    facts = read_facts(tmp_path / "model")
    assert (facts.flavor, facts.serialization_format) == ("sklearn", "cloudpickle")
    assert [(column.name, column.type) for column in facts.inputs] == [("area", "double"), ("width", "double")]
    assert len(facts.outputs) == 1
    loaded = flavors.load(tmp_path / "model")
    assert list(loaded.predict(frame)) == list(model.predict(frame))
    assert list((tmp_path / "cwd").iterdir()) == []


def test_the_rows_of_the_example_are_not_stored(tmp_path: Path) -> None:
    from sklearn.dummy import DummyClassifier

    secret = pd.DataFrame({"name": ["Ada Lovelace-4711"]})
    flavors.save(DummyClassifier().fit([[0]], [1]), tmp_path / "model", example=secret)
    assert not any(b"4711" in path.read_bytes() for path in (tmp_path / "model").rglob("*") if path.is_file())


def test_requirements_are_pinned_to_what_is_here(frame: pd.DataFrame, tmp_path: Path) -> None:
    import sklearn
    from sklearn.dummy import DummyClassifier

    flavors.save(DummyClassifier().fit(frame, [0, 1, 0, 1]), tmp_path / "model", example=frame)
    lines = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert f"scikit-learn=={sklearn.__version__}" in lines
    assert f"pandas=={pd.__version__}" in lines


def test_a_function_is_a_model(frame: pd.DataFrame, tmp_path: Path) -> None:
    limit = 2.5

    def large(rows: pd.DataFrame) -> np.ndarray:
        return (rows["area"] > limit).to_numpy()

    flavors.save(large, tmp_path / "model", example=frame)
    assert read_facts(tmp_path / "model").serialization_format == "cloudpickle"
    assert list(flavors.load(tmp_path / "model").predict(frame)) == [False, False, True, True]


def test_a_python_model_is_a_model(mlflow: Any, frame: pd.DataFrame, tmp_path: Path) -> None:
    class Doubles(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return model_input["area"] * 2

    flavors.save(Doubles(), tmp_path / "model", example=frame)
    assert [column.name for column in read_facts(tmp_path / "model").inputs] == ["area", "width"]
    assert list(flavors.load(tmp_path / "model").predict(frame)) == [2.0, 4.0, 6.0, 8.0]


def test_without_an_example_there_is_no_signature(tmp_path: Path) -> None:
    from sklearn.dummy import DummyClassifier

    flavors.save(DummyClassifier().fit([[0]], [1]), tmp_path / "model")
    assert read_facts(tmp_path / "model").inputs == ()


def test_saving_says_nothing(frame: pd.DataFrame, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        flavors.save(lambda rows: rows["area"], tmp_path / "model", example=frame)
        flavors.load(tmp_path / "model")
    assert [str(warning.message) for warning in told if "mlflow" in str(warning.filename)] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("thing", [None, 3, "model", {"a": 1}, pd.DataFrame()])
def test_what_is_no_model_is_refused(thing: Any) -> None:
    with pytest.raises(Invalid, match="no model that can be registered"):
        flavors.flavor_of(thing)


def test_a_model_that_fails_on_the_example_is_told(frame: pd.DataFrame, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    with pytest.raises(Invalid, match="fails on the example: NotFittedError"):
        flavors.save(LinearRegression(), tmp_path / "model", example=frame)


def test_a_model_that_cannot_be_pickled_is_told(tmp_path: Path) -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(Invalid, match="cannot save this function"):
        flavors.save(lambda rows: lock, tmp_path / "model")


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="mlflow")

    monkeypatch.setattr(flavors.importlib, "import_module", missing)
    with pytest.raises(Unavailable, match=r"pip install jupyter-ext\[mlflow\]"):
        flavors.load_backend("sklearn")
