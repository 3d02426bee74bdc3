"""From a fitted model to an MLflow model folder and back. Runs in the kernel: only here are models (un)pickled."""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from jupyter_ext.errors import Invalid, Unavailable
from jupyter_ext.registry.mlmodel import read_facts

#: Where a module's distribution has another name.
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


@dataclass(frozen=True)
class Flavor:
    """How MLflow saves one library's models. The serialisation is always named: MLflow's defaults change and refuse."""

    name: str
    argument: str
    options: dict[str, Any] = field(default_factory=dict)


_BY_MODULE = {
    "sklearn": Flavor("sklearn", "sk_model", {"serialization_format": "cloudpickle"}),
    "xgboost": Flavor("xgboost", "xgb_model", {"model_format": "ubj"}),
    "lightgbm": Flavor("lightgbm", "lgb_model", {"serialization_format": "cloudpickle"}),
    "torch": Flavor("pytorch", "pytorch_model", {"serialization_format": "pickle"}),
}
_PYFUNC = Flavor("pyfunc", "python_model")


def flavor_of(model: Any) -> Flavor:
    """Choose the flavour by the classes a model is made of, most special first.

    Raises
    ------
    Invalid
        Not a model that MLflow can save.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> flavor_of(Ridge()).name, flavor_of(lambda frame: frame).name
    ('sklearn', 'pyfunc')
    """
    for cls in type(model).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in _BY_MODULE and not inspect.isroutine(model):
            return _BY_MODULE[root]
        if (cls.__module__, cls.__name__) == ("mlflow.pyfunc.model", "PythonModel"):
            return _PYFUNC
    if inspect.isroutine(model):
        return _PYFUNC
    raise Invalid(
        f"A {type(model).__module__}.{type(model).__qualname__} is no model that can be registered: give one of "
        "scikit-learn, XGBoost, LightGBM or PyTorch, an mlflow.pyfunc.PythonModel, or a function of the data."
    )


def save(model: Any, folder: Path, *, example: Any = None) -> None:
    """Save a fitted model as an MLflow model folder.

    Parameters
    ----------
    model
        What `flavor_of` knows.
    folder
        Where to; must not exist.
    example
        Some rows of input. The signature is inferred from them and from what the model predicts on them; the rows
        themselves are not stored.

    Raises
    ------
    Invalid
        The model cannot be saved, or does not predict on the example.
    Unavailable
        MLflow is not installed in this kernel.
    """
    flavor = flavor_of(model)
    python_model = _named_input(model) if inspect.isroutine(model) else model
    # Importing MLflow sets the level of its logger, so what comes after needs a block of its own.
    with _quiet():
        backend = load_backend(flavor.name)
    with _quiet():
        signature = None if example is None else _signature(model, flavor, example)
        try:
            backend.save_model(
                **{flavor.argument: python_model},
                path=str(folder),
                signature=signature,
                pip_requirements=requirements_of(model, example),
                **flavor.options,
            )
        except Exception as error:
            raise Invalid(f"MLflow cannot save this {type(model).__name__}: {error}") from error


def load(folder: Path) -> Any:
    """Load the model in an MLflow model folder, by its own library.

    Returns
    -------
    Any
        The fitted model itself; for functions and ``PythonModel``, MLflow's wrapper with ``predict``.
    """
    facts = read_facts(folder)
    known = {flavor.name for flavor in _BY_MODULE.values()}
    with _quiet():
        backend = load_backend(facts.flavor if facts.flavor in known else "pyfunc")
    with _quiet():
        return backend.load_model(str(folder))


def requirements_of(model: Any, example: Any = None) -> list[str]:
    """Pin what loading the model needs, from what is installed here.

    MLflow's own inference runs the model in a second process and takes half a minute; the modules of the model's
    parts say the same at once.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> [line.partition("==")[0] for line in requirements_of(Ridge())]
    ['cloudpickle', 'mlflow', 'numpy', 'scikit-learn']
    """
    parts = [model, example]
    if not inspect.isclass(model) and hasattr(model, "get_params"):
        parts += list(model.get_params(deep=True).values())
    modules = {"cloudpickle", "mlflow", "numpy"}
    for part in parts:
        for cls in type(part).__mro__:
            modules.add(cls.__module__.partition(".")[0])
    names = {_DISTRIBUTIONS.get(module, module) for module in modules}
    pinned = []
    for name in sorted(names):
        try:
            pinned.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            # The standard library, the notebook itself, or a module whose distribution is named otherwise.
            continue
    return pinned


def load_backend(flavor: str) -> Any:
    """Import MLflow's module of a flavour, or say what to install."""
    try:
        return importlib.import_module(f"mlflow.{flavor}")
    except ModuleNotFoundError as error:
        wanted = "jupyter-ext[mlflow]" if error.name == "mlflow" else error.name
        raise Unavailable(
            f"This kernel cannot handle {flavor} models. Install what is missing: pip install {wanted}"
        ) from error


def _signature(model: Any, flavor: Flavor, example: Any) -> Any:
    from mlflow.models import infer_signature

    try:
        predictions = _predictor(model, flavor)(example)
    except Exception as error:
        raise Invalid(f"The model fails on the example: {type(error).__name__}: {error}") from error
    try:
        return infer_signature(_plain(example), _plain(predictions))
    except Exception as error:
        raise Invalid(f"The example or its predictions have no signature in MLflow: {error}") from error


def _predictor(model: Any, flavor: Flavor) -> Callable[[Any], Any]:
    if inspect.isroutine(model):
        return cast("Callable[[Any], Any]", model)
    if flavor.name == "pytorch":
        return lambda example: _torch_predict(model, example)
    if flavor is _PYFUNC:
        with_context = "context" in inspect.signature(model.predict).parameters
        return lambda example: model.predict(None, example) if with_context else model.predict(example)
    if type(model).__module__.startswith("xgboost") and type(model).__name__ == "Booster":
        return lambda example: model.predict(importlib.import_module("xgboost").DMatrix(example))
    return cast("Callable[[Any], Any]", model.predict if hasattr(model, "predict") else model.transform)


def _torch_predict(model: Any, example: Any) -> Any:
    torch = importlib.import_module("torch")
    with torch.no_grad():
        return model(torch.as_tensor(getattr(example, "to_numpy", lambda: example)()))


def _plain(values: Any) -> Any:
    """Return tensors as arrays; MLflow's schemas know no tensors."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _named_input(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    # MLflow takes functions of one argument with this very name only.
    def predict(model_input):  # type: ignore[no-untyped-def]
        return function(model_input)

    return predict


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's advice to itself: on pickles, type hints and examples, which we decided about."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # MLflow puts filters of its own in front of ours for some of them, so they are caught and the others sent on.
        with warnings.catch_warnings(record=True) as told:
            warnings.filterwarnings("ignore", module=r"mlflow\b")
            yield
        for warning in told:
            if "mlflow" not in Path(warning.filename).parts:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    finally:
        logger.setLevel(level)
