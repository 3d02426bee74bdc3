"""When are two functions the same? A digest over what they would do, so that an unchanged one need not run again."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import pickle
import re
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from jupyter_ext.errors import Invalid

_STANDARD_LIBRARY = inspect.getfile(inspect).removesuffix("inspect.py")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, type(...))


def source_of(code: Callable[..., Any]) -> str:
    """Return source without its indentation; an empty text where there is none (made by ``exec``, say)."""
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(code)))
    except (OSError, TypeError):
        return ""


def fingerprint(value: Any) -> str:
    """Return a SHA-256 that is equal for equal content, in any process and on any day.

    A function counts by its source (or its byte code where there is none), its defaults, and the values of the
    variables it reads from outside, followed through the functions it calls that were written in a notebook or script.
    Library code counts by its name alone.

    Examples
    --------
    >>> fingerprint({"b": 1, "a": {2, 3}}) == fingerprint({"a": {3, 2}, "b": 1})
    True
    >>> limit = 3
    >>> rule = lambda row: row.x > limit
    >>> before = fingerprint(rule)
    >>> limit = 4
    >>> fingerprint(rule) == before
    False

    Raises
    ------
    Invalid
        For a value that can't be told from another one (it can't be pickled).
    """
    return _Hasher().digest(value)


class _Hasher:
    def __init__(self) -> None:
        self._open: list[int] = []

    def digest(self, value: Any) -> str:
        if id(value) in self._open:  # a function that calls itself, a list that holds itself
            return f"cycle {len(self._open) - self._open.index(id(value))}"
        self._open.append(id(value))
        try:
            return hashlib.sha256(self._content(value)).hexdigest()
        finally:
            self._open.pop()

    def _content(self, value: Any) -> bytes:
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
        if isinstance(value, re.Pattern):
            return f"pattern {value.pattern!r} {value.flags}".encode()
        if isinstance(value, Mapping):
            return f"mapping {sorted((self.digest(key), self.digest(item)) for key, item in value.items())}".encode()
        if isinstance(value, (set, frozenset)):
            return f"set {sorted(map(self.digest, value))}".encode()
        if isinstance(value, (list, tuple)):
            return f"list {[self.digest(item) for item in value]}".encode()
        if isinstance(value, (pd.DataFrame, pd.Series, pd.Index)):
            # The row hashes tell nothing of names and types.
            header = f"{getattr(value, 'columns', getattr(value, 'name', ''))} {getattr(value, 'dtypes', '')}"
            return header.encode() + np.asarray(pd.util.hash_pandas_object(value)).tobytes()
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            return f"array {value.dtype.str} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}".encode()
        if isinstance(value, (types.BuiltinFunctionType, np.ufunc)):
            return f"builtin {getattr(value, '__module__', '')}.{value.__name__}".encode()
        if isinstance(value, types.MethodType):
            return self._parts("method", value.__self__, value.__func__)
        if isinstance(value, functools.partial):
            return self._parts("partial", value.func, value.args, value.keywords)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if hasattr(value, "__wrapped__"):  # a cached function, a labeling function
            return self._parts("wrapper", type(value), value.__wrapped__, getattr(value, "resources", None))
        return self._pickled(value)

    def _parts(self, what: str, *parts: Any) -> bytes:
        return f"{what} {[self.digest(part) for part in parts]}".encode()

    def _function(self, function: types.FunctionType) -> bytes:
        if _is_library(function):
            return f"library {function.__module__}.{function.__qualname__}".encode()
        code = function.__code__
        text = source_of(function) or " ".join(f"{part.co_code.hex()} {_constants(part)!r}" for part in _codes(code))
        defaults = [function.__defaults__, function.__kwdefaults__]
        return self._parts(
            "function", text, defaults, _read_from_outside(function), getattr(function, "__wrapped__", None)
        )

    def _class(self, cls: type) -> bytes:
        name = f"class {cls.__module__}.{cls.__qualname__}"
        if _is_library(cls):
            return name.encode()
        members = {
            key: item
            for key, item in vars(cls).items()
            if isinstance(item, (*_PLAIN, tuple, types.FunctionType)) and key != "__module__"
        }
        return self._parts(name, source_of(cls) or members)

    def _pickled(self, value: Any) -> bytes:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        try:
            return self._parts("object", type(value), pickle.dumps(value, protocol=5))
        except Exception as error:
            raise Invalid(
                f"Can't tell whether a {kind} that a labeling function uses has changed: it can't be pickled. "
                "Load it inside the function or in a module of its own, and pass what names it as a resource."
            ) from error


def _is_library(code: Any) -> bool:
    """Whether code was installed, rather than written in a notebook, a script or a test."""
    try:
        path = inspect.getfile(code)
    except (OSError, TypeError):
        return bool(code.__module__ == "builtins")
    return "site-packages" in path or "dist-packages" in path or path.startswith(_STANDARD_LIBRARY)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of the lambdas and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _constants(code: types.CodeType) -> list[Any]:
    return [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]


def _read_from_outside(function: types.FunctionType) -> dict[str, Any]:
    names = {
        step.argval
        for code in _codes(function.__code__)
        for step in dis.get_instructions(code)
        if step.opname == "LOAD_GLOBAL"
    }
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found
