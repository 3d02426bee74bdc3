from __future__ import annotations

import json
import math
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from jupyter_ext import shell
from jupyter_ext.client import _sources
from jupyter_ext.client._sources import RETURNED, Work
from jupyter_ext.errors import Invalid

OFFSET = 7


def run(work: Work, **swept: Any) -> Any:
    """Run a call as the runner does."""
    compile(work.source, "job", "exec")
    namespace = {**cloudpickle.loads(cloudpickle.dumps(dict(work.variables))), **work.parameters, **swept}
    exec(work.source, namespace)
    return namespace[RETURNED]


def add(a: int, b: int = 2, *more: int, scale: float = 1.0, **named: int) -> float:
    return (a + b + sum(more) + sum(named.values())) * scale + OFFSET


def first(a: int, /, b: int) -> int:
    return a - b


@pytest.mark.parametrize(
    ("args", "keywords"),
    [
        ((1,), {}),
        ((1, 5), {}),
        ((), {"a": 1, "scale": 0.5}),
        ((1, 2, 3, 4), {"scale": 2.0}),
        ((1,), {"other": 5, "scale": 2.0}),
    ],
)
def test_a_call_is_the_same_call_in_the_job(args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    assert run(_sources.of_function(add, args, keywords)) == add(*args, **keywords)


def test_every_kind_of_callable() -> None:
    class Model:
        def __init__(self, slope: float) -> None:
            self.slope = slope

        def __call__(self, x: float) -> float:
            return self.slope * x

        def fit(self, x: float) -> float:
            return self.slope + x

    threshold = 3
    assert run(_sources.of_function(lambda x: x > threshold, (4,), {})) is True
    assert run(_sources.of_function(first, (5, 2), {})) == 3
    assert run(_sources.of_function(Model(2.0), (4,), {})) == 8.0
    assert run(_sources.of_function(Model(2.0).fit, (4,), {})) == 6.0
    assert run(_sources.of_function(partial(add, 1, scale=2.0), (3,), {})) == add(1, 3, scale=2.0)
    assert run(_sources.of_function(math.hypot, (3, 4), {})) == 5.0
    assert run(_sources.of_function(max, ([3, 4],), {})) == 4
    assert _sources.of_function(lambda: 1, (), {}).name == "lambda"


def test_arguments_that_are_named_like_what_is_around_them() -> None:
    def twice(twice: int, _returned: int = 0) -> int:
        return 2 * twice + _returned

    assert run(_sources.of_function(twice, (4,), {"_returned": 1})) == 9


def test_numbers_and_words_are_told_in_the_open_and_the_rest_is_pickled() -> None:
    def train(data: Any, lr: float, name: str, layers: Any, limit: float, note: str) -> None: ...

    work = _sources.of_function(
        train, ([1],), {"lr": 0.1, "name": "a", "layers": (1,), "limit": math.inf, "note": "x" * 201}
    )
    assert work.parameters == {"lr": 0.1, "name": "a"}
    assert set(work.variables) == {"train", "data", "layers", "limit", "note"}
    assert work.fetch == (RETURNED,)


def test_what_a_sweep_brings_is_an_argument() -> None:
    work = _sources.of_function(add, (1,), {}, ["b", "other"])
    assert "b" not in {*work.parameters, *work.variables}
    assert run(work, b=10, other=100) == add(1, 10, other=100)
    with pytest.raises(Invalid, match="'b' is given twice"):
        _sources.of_function(add, (1,), {"b": 2}, ["b"])
    with pytest.raises(Invalid, match="first can't be called so: got an unexpected keyword argument 'lr'"):
        _sources.of_function(first, (1, 2), {}, ["lr"])


@pytest.mark.parametrize(
    ("args", "keywords", "said"),
    [
        ((1,), {}, "first can't be called so: missing a required argument: 'b'"),
        ((1, 2), {"cpus": 3}, r"unexpected keyword argument 'cpus'. Options go before: jobs.options\(cpus=…\).submit"),
    ],
)
def test_a_wrong_call_is_told_before_it_is_submitted(args: Any, keywords: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        _sources.of_function(first, args, keywords)


def test_the_function_can_be_read_and_its_lines_are_in_tracebacks() -> None:
    scope: dict[str, Any] = {}
    import linecache

    text = "# a cell\n\ndef fails(x):\n    import polars\n    y = x / 0\n    return y\n"
    linecache.cache["<a cell>"] = (len(text), None, text.splitlines(keepends=True), "<a cell>")
    exec(compile(text, "<a cell>", "exec"), scope)
    work = _sources.of_function(scope["fails"], (1,), {})
    assert "# def fails(x):\n#     import polars\n#     y = x / 0\n" in work.source
    assert work.imports == {"polars"}
    data = cloudpickle.dumps(dict(work.variables))
    del linecache.cache["<a cell>"]
    namespace = cloudpickle.loads(data)
    linecache.checkcache()
    try:
        namespace["fails"](1)
    except ImportError:
        assert "    import polars" in traceback.format_exc()


def test_a_function_of_unknown_source_is_said_to_be_so() -> None:
    scope: dict[str, Any] = {}
    exec("def made(): return 3", scope)
    work = _sources.of_function(scope["made"], (), {})
    assert "(not known)" in work.source
    assert run(work) == 3


def test_files_by_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "train (1).py").write_text("import numpy\n")
    work = _sources.of_file(tmp_path / "train (1).py")
    assert (work.kind, work.name, work.imports) == ("python", "train-1", {"numpy"})
    (tmp_path / "run.sh").write_text("make data\n")
    work = _sources.of_file(tmp_path / "run.sh")
    assert (work.kind, work.source) == ("shell", "make data\n")
    (tmp_path / "bad.py").write_bytes(b"\xff")
    for name, said in {
        "nowhere.py": "no file",
        "bad.py": "can't be read",
        "data.csv": r"\.py, \.ipynb or \.sh",
    }.items():
        with pytest.raises(Invalid, match=said):
            _sources.of_file(tmp_path / name)


def test_commands_are_named_after_what_they_run() -> None:
    assert [_sources.of_command(shell(text)).name for text in ("/usr/bin/make data", "x='", "python train.py")] == [
        "make", "shell", "python",
    ]  # fmt: skip
    with pytest.raises(Invalid, match="no command"):
        _sources.of_command(shell(" \n"))


def notebook(path: Path, *cells: dict[str, Any], **metadata: Any) -> Path:
    path.write_text(json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def code(source: Any, **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": [], "execution_count": None, "metadata": {}, **more}


def test_a_notebook_goes_without_what_it_showed(tmp_path: Path) -> None:
    shown = [{"output_type": "stream", "name": "stdout", "text": "secret"}]
    path = notebook(
        tmp_path / "report.ipynb",
        {"cell_type": "markdown", "source": "# import this", "metadata": {}},
        code(["%matplotlib inline\n", "import pandas as pd\n"], outputs=shown, execution_count=3),
        code("%%bash\nimport nothing"),
        code("x = ("),
        code("!ls\nfrom polars import DataFrame"),
        widgets={"state": "large"},
        kernelspec={"name": "python3"},
    )
    work = _sources.of_file(path)
    assert (work.kind, work.name, work.imports) == ("notebook", "report", {"pandas", "polars"})
    sent = json.loads(work.source)
    assert sent["cells"][1]["outputs"] == []
    assert sent["metadata"] == {"kernelspec": {"name": "python3"}}
    assert "secret" in path.read_text()


def test_a_notebook_that_installs_packages_is_not_asked_for_them(tmp_path: Path) -> None:
    work = _sources.of_file(notebook(tmp_path / "n.ipynb", code("%pip install polars"), code("import polars")))
    assert work.imports == set()


def test_a_notebook_that_can_not_be_sent_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.ipynb").write_text("{}")
    with pytest.raises(Invalid, match="no notebook of today's format"):
        _sources.of_file(tmp_path / "bad.ipynb")
    large = notebook(tmp_path / "large.ipynb", code("'" + "x" * 1_100_000 + "'"))
    with pytest.raises(Invalid, match=r"1\.1 million characters without its outputs, and may have 1 million"):
        _sources.of_file(large)


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import a, b.c as d\nfrom e.f import g", {"a", "b", "e"}),
        ("def f():\n    import a", {"a"}),
        ("try:\n    import a\nexcept ImportError:\n    a = None", set()),
        ("try:\n    import a\nexcept (OSError, ModuleNotFoundError):\n    import b", {"b"}),
        ("try:\n    import a\nexcept:\n    pass\nelse:\n    import c", {"c"}),
        ("try:\n    import a\nexcept ValueError:\n    pass", {"a"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a", {"typing"}),
    ],
)
def test_what_code_imports_and_can_not_do_without(source: str, imported: set[str]) -> None:
    assert _sources.of_text(source).imports == imported
