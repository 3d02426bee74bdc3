"""What an ``MLmodel`` file says of a model: read as plain YAML and JSON; nothing of the model is ever loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jupyter_ext.errors import Invalid
from jupyter_ext.registry.values import ColumnSpec, ModelFacts

_MAX_BYTES = 10_000_000
_GENERIC = "python_function"


def read_facts(folder: Path) -> ModelFacts:
    """Read the facts of the model in ``folder``.

    Parameters
    ----------
    folder
        A folder that MLflow's ``save_model`` wrote.

    Returns
    -------
    ModelFacts
        Flavour, serialisation format and signature.

    Raises
    ------
    Invalid
        No ``MLmodel`` in it, or one that is not a description of a model.
    """
    path = folder / "MLmodel"
    if not path.is_file():
        raise Invalid("The archive is no MLflow model: there is no file 'MLmodel' at its top.")
    if path.stat().st_size > _MAX_BYTES:
        raise Invalid(f"The 'MLmodel' file is larger than {_MAX_BYTES} bytes.")
    return parse_facts(path.read_bytes())


def parse_facts(text: bytes | str) -> ModelFacts:
    """Read the facts from the text of an ``MLmodel`` file.

    Examples
    --------
    >>> facts = parse_facts('''
    ... flavors:
    ...   python_function: {loader_module: mlflow.sklearn}
    ...   sklearn: {serialization_format: cloudpickle}
    ... signature:
    ...   inputs: '[{"type": "double", "name": "area", "required": true}]'
    ... ''')
    >>> facts.flavor, facts.serialization_format, facts.inputs[0].name
    ('sklearn', 'cloudpickle', 'area')
    """
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise Invalid(f"The 'MLmodel' file is not readable YAML: {reason}") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not flavors or not all(isinstance(name, str) for name in flavors):
        raise Invalid("The 'MLmodel' file names no flavors, so nobody could load this model.")
    flavor = next((name for name in flavors if name != _GENERIC), _GENERIC)
    signature = document.get("signature")
    signature = signature if isinstance(signature, dict) else {}
    return ModelFacts(
        flavor=flavor,
        serialization_format=_serialization(flavors[flavor]),
        inputs=_columns(signature.get("inputs"), "inputs"),
        outputs=_columns(signature.get("outputs"), "outputs"),
    )


def _serialization(config: Any) -> str | None:
    if not isinstance(config, dict):
        return None
    for key in ("serialization_format", "model_format"):
        if isinstance(config.get(key), str):
            return str(config[key])
    return "cloudpickle" if "cloudpickle_version" in config else None


def _columns(text: Any, side: str) -> tuple[ColumnSpec, ...]:
    if text is None:
        return ()
    try:
        schema = json.loads(text)
        return tuple(
            ColumnSpec(name=column.get("name"), type=_type_name(column), required=bool(column.get("required", True)))
            for column in schema
        )
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise Invalid(f"The signature's {side} in the 'MLmodel' file are not a schema of MLflow's.") from error


def _type_name(column: dict[str, Any]) -> str:
    """Name a type as a person would: ``double``, ``array<double>``, ``float64[-1, 3]``."""
    kind = str(column["type"])
    if kind == "tensor":
        tensor = column["tensor-spec"]
        return f"{tensor['dtype']}{list(tensor['shape'])}"
    if kind == "array":
        return f"array<{_type_name(column['items'])}>"
    if kind == "map":
        return f"map<{_type_name(column['values'])}>"
    return kind
