"""Reading MLmodel files without trusting them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_ext.errors import Invalid
from jupyter_ext.registry.mlmodel import parse_facts, read_facts


def mlmodel(inputs: object = None, flavors: str = "{sklearn: {serialization_format: cloudpickle}}") -> str:
    text = f"flavors: {flavors}\n"
    return text if inputs is None else text + f"signature:\n  inputs: '{json.dumps(inputs)}'\n"


def test_types_read_as_a_person_would_say_them() -> None:
    facts = parse_facts(
        mlmodel(
            [
                {"type": "double", "name": "area", "required": True},
                {"type": "array", "items": {"type": "string"}, "name": "words", "required": False},
                {"type": "map", "values": {"type": "long"}, "name": "counts"},
                {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}},
                {"type": "object", "name": "o", "properties": {}},
            ]
        )
    )
    assert [(column.name, column.type, column.required) for column in facts.inputs] == [
        ("area", "double", True),
        ("words", "array<string>", False),
        ("counts", "map<long>", True),
        (None, "float32[-1, 3]", True),
        ("o", "object", True),
    ]
    assert facts.outputs == ()


@pytest.mark.parametrize(
    ("flavors", "flavor", "serialization"),
    [
        ("{python_function: {cloudpickle_version: 3.1.2}}", "python_function", "cloudpickle"),
        ("{python_function: {}, xgboost: {model_format: ubj}}", "xgboost", "ubj"),
        ("{python_function: {}, sklearn: {serialization_format: skops}}", "sklearn", "skops"),
        ("{python_function: {}, odd: []}", "odd", None),
    ],
)
def test_the_librarys_own_flavor_wins(flavors: str, flavor: str, serialization: str | None) -> None:
    facts = parse_facts(mlmodel(flavors=flavors))
    assert (facts.flavor, facts.serialization_format) == (flavor, serialization)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no flavors"),
        ("flavors: {}", "names no flavors"),
        ("[1, 2]", "names no flavors"),
        ("flavors: {1: {}}", "names no flavors"),
        ("a: [", "not readable YAML"),
        ("!!python/object/apply:os.system ['echo']", "not readable YAML"),
        (b"\xff\xfe\x00", "not readable YAML"),
        ("[" * 100_000, "not readable YAML"),
        (mlmodel("nonsense"), "not a schema"),
        (mlmodel([1]), "not a schema"),
        (mlmodel([{"name": "x"}]), "not a schema"),
        (mlmodel([{"type": "tensor"}]), "not a schema"),
        ("flavors: {a: {}}\nsignature: {inputs: 'oops'}", "not a schema"),
        ("flavors: {a: {}}\nsignature: {inputs: 7}", "not a schema"),
    ],
)
def test_what_is_no_description_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_facts(text)


def test_a_folder_without_mlmodel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").mkdir()
    with pytest.raises(Invalid, match="no file 'MLmodel'"):
        read_facts(tmp_path)
