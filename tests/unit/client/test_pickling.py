from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel

from jupyter_ext.client import Client
from jupyter_ext.client._pickling import fingerprint, own_file, own_modules, pickle_all
from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.functions import Travelling


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module and a package beside the notebook."""
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom my_package import helpers\n"
        "class Point:\n    def __init__(self, x):\n        self.x = x\n"
        "def shift(x):\n    return helpers.twice(x) + np.int64(1)\n"
    )
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("mine")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mine", "my_package")]:
        del sys.modules[name]


def elsewhere(data: bytes, expression: str) -> str:
    """Read what was pickled in a process that has not these modules, and say what it is."""
    code = f"import cloudpickle, sys; read = cloudpickle.loads(sys.stdin.buffer.read()); print({expression})"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_the_users_own_modules_go_along(mine: ModuleType) -> None:
    found = pickle_all({"shift": mine.shift, "point": mine.Point(5), "package": mine.helpers})
    assert found.needs == {"numpy", "cloudpickle"}
    told = elsewhere(found.data, "read['shift'](20), read['point'].x, read['package'].twice(4)")
    assert told == "41 5 8"
    assert not {"mine", "my_package"} & cloudpickle.list_registry_pickle_by_value()


def test_installed_packages_go_by_name_and_are_noted() -> None:
    found = pickle_all({"frame": pd.DataFrame({"x": [1]}), "mean": np.mean, "module": np.linalg, "one": 1})
    assert {"numpy", "pandas"} <= found.needs
    assert "jupyter_ext" not in found.needs
    assert "builtins" not in found.needs
    assert pickle_all({"x": [1, "a", None], "f": threading.Event}).needs == frozenset()


def test_which_modules_are_the_users_own(mine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_modules()
    assert own["mine"] == str(tmp_path / "mine.py")
    assert "my_package" in own
    assert not {"numpy", "json", "jupyter_ext", "pytest", "IPython"} & set(own)
    assert own_file("mine") == str(tmp_path / "mine.py")
    (tmp_path / "not_loaded.py").touch()
    assert own_file("not_loaded") == str(tmp_path / "not_loaded.py")
    assert own_file("nowhere_at_all") is None
    assert own_file("numpy") is None


def test_what_can_not_be_pickled_is_named() -> None:
    with pytest.raises(Invalid, match=r"'lock' \(lock\) can't be sent"):
        pickle_all({"x": 1, "lock": threading.Lock()})


def test_a_function_takes_no_client_along() -> None:
    client = Client("http://127.0.0.1:9", "a token")

    def train() -> object:
        return client.jobs

    with pytest.raises(
        Invalid, match=r"The function 'train' can't be sent, with what it refers to: .*holds your token"
    ):
        pickle_all({"train": Travelling(train)})


def test_what_is_shared_stays_shared() -> None:
    shared = [1]
    read = cloudpickle.loads(pickle_all({"a": shared, "b": shared}).data)
    assert read["a"] is read["b"]


CELLS = (
    "import dataclasses, enum, functools, hashlib\nimport pandas as pd\n"
    "from jupyter_ext.client._pickling import fingerprint, pickle_all\n"
    "from jupyter_ext.jobs.functions import Travelling",
    "rate = 0.1\nclass Model:\n    def fit(self, x):\n"
    "        return self if x in {'a', 'b', 'c', 'd'} else rate\n    def again(self):\n        return Model()",
    "@dataclasses.dataclass\nclass Options:\n    depth: int = 3\nclass Kind(enum.Enum):\n    LINEAR = 1",
    "def helper(n):\n    return helper(n - 1) if n else Model()",
    "def train(model, frame, key=lambda row: row['x'] in {'a', 'b', 'c'}):\n"
    "    return [helper(n) for n in range(3)], Options(), Kind.LINEAR, pd.concat([frame])",
)
SENT = "dict(train=Travelling(train), part=functools.partial(helper, 3), model=Model(), frame=pd.DataFrame({'x': [1]}))"


def in_a_new_kernel(*cells: str) -> str:
    """What the last of the cells prints, run in a kernel of its own."""
    manager, kernel = start_new_kernel()
    said = []
    try:
        for cell in cells:
            reply = kernel.execute_interactive(
                cell, timeout=60, output_hook=lambda m: said.append(m["content"].get("text", ""))
            )
            assert reply["content"]["status"] == "ok", reply
        return "".join(said)
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_new_kernel_finds_the_same_fingerprint() -> None:
    ask = f"sent = {SENT}\nprint(fingerprint(sent), hashlib.sha256(pickle_all(sent).data).hexdigest())"
    first, second = (in_a_new_kernel(*CELLS, ask).split() for _ in range(2))
    assert first[0] == second[0]
    assert first[1] != second[1]  # which their pickles are not


def test_two_lambdas_of_one_line_differ() -> None:
    one, other = (lambda x: x + 1), (lambda x: x + 2)
    assert fingerprint({"f": Travelling(one)}) == fingerprint({"f": Travelling(one)})
    assert fingerprint({"f": Travelling(one)}) != fingerprint({"f": Travelling(other)})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rate = 0.1", "rate = 0.2"),
        ("else rate", "else 2 * rate"),
        ("depth: int = 3", "depth: int = 4"),
        ("LINEAR = 1", "LINEAR = 2"),
        ("range(3)", "range(4)"),
        ("row['x']", "row['y']"),
        ("helper(n - 1)", "helper(n - 2)"),
        ("'x': [1]", "'x': [2]"),
    ],
)
def test_what_is_changed_changes_the_fingerprint(old: str, new: str) -> None:
    def told(change: Callable[[str], str]) -> str:
        shell = InteractiveShell()
        try:
            for cell in CELLS:
                shell.run_cell(change(cell)).raise_error()
            return str(shell.run_cell(f"fingerprint({change(SENT)})").result)
        finally:
            shell.history_manager.end_session()

    assert any(old in text for text in (*CELLS, SENT))
    assert told(str) != told(lambda text: text.replace(old, new))
