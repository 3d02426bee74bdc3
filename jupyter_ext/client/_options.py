"""The options of a job: their names, and how what people write becomes what the server takes."""

from __future__ import annotations

import difflib
import inspect
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from jupyter_ext.errors import Invalid

#: The most jobs that a sweep makes.
MAX_SWEEP = 1000
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}

Sweep = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]]


class Options(TypedDict, total=False):
    """Every option of a job; `Jobs.options` says what they mean."""

    name: str | None
    cpus: float
    gpus: float
    memory: int | str | None
    workers: int
    accelerator: str | None
    priority: int
    retries: int
    timeout: float | str | None
    after: Any
    send: Mapping[str, Any] | None
    fetch: str | Sequence[str]
    parameters: Mapping[str, Any] | None
    sweep: Sweep | None
    key: str | None
    dataset: Any
    label_set: Any
    tags: Mapping[str, str] | None
    check: bool
    timezone: str


DEFAULTS: Options = {
    "name": None,
    "cpus": 1,
    "gpus": 0,
    "memory": None,
    "workers": 0,
    "accelerator": None,
    "priority": 0,
    "retries": 0,
    "timeout": None,
    "after": None,
    "send": None,
    "fetch": (),
    "parameters": None,
    "sweep": None,
    "key": None,
    "dataset": None,
    "label_set": None,
    "tags": None,
    "check": True,
    "timezone": "UTC",
}
NAMES = tuple(DEFAULTS)
#: What notebooks show and complete.
SIGNATURE = inspect.Signature(
    [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in DEFAULTS.items()]
)


def require_known(options: Mapping[str, Any]) -> None:
    """Refuse what is no option.

    Examples
    --------
    >>> require_known({"cpu": 2})
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: There is no option 'cpu'. Did you mean 'cpus'?
    """
    for name in options:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            rest = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(NAMES)}."
            raise Invalid(f"There is no option {name!r}. {rest}", field=name)


def names(written: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of variables, of which one may be written without a list."""
    return (written,) if isinstance(written, str) else tuple(written)


def plain(name: str, value: Any) -> Any:
    """Return a parameter's value as JSON has it: numbers of numpy become Python's.

    Examples
    --------
    >>> import numpy as np
    >>> plain("lr", np.float64(0.5)), plain("layers", (64, 32))
    (0.5, [64, 32])
    >>> plain("model", object())
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: The parameter 'model' is of type object. Parameters are numbers, text, True...
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        what = f"{value}" if isinstance(value, float) else f"of type {type(value).__name__}"
        raise Invalid(
            f"The parameter {name!r} is {what}. Parameters are numbers, text, True or False, None, and lists and "
            "dicts of them.",
            field=name,
        ) from error


def parameters_of(written: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return parameters as JSON has them."""
    return {name: plain(name, value) for name, value in (written or {}).items()}


def grid(sweep: Sweep | None) -> tuple[dict[str, Any], ...]:
    """Return the sets of parameters that a sweep stands for.

    Parameters
    ----------
    sweep
        Values for each parameter, of which every combination is tried; or the sets themselves, one after the other.

    Raises
    ------
    Invalid
        It makes no set at all, or more than 1,000; or a value is no number, text, list or dict.

    Examples
    --------
    >>> grid({"lr": [0.1, 0.01], "depth": [3]})
    ({'lr': 0.1, 'depth': 3}, {'lr': 0.01, 'depth': 3})
    >>> grid([{"lr": 0.1}, {"lr": 0.01, "depth": 5}])
    ({'lr': 0.1}, {'lr': 0.01, 'depth': 5})
    """
    if sweep is None:
        return ()
    if isinstance(sweep, Mapping):
        values = {name: _values(name, given) for name, given in sweep.items()}
        count = math.prod(map(len, values.values())) if values else 0
    else:
        if isinstance(sweep, str) or not all(isinstance(one, Mapping) for one in sweep):
            raise Invalid('Write a sweep as sweep={"lr": [0.1, 0.01]}, or as a list of dicts.', field="sweep")
        values, count = {}, len(sweep)
    if not 1 <= count <= MAX_SWEEP:
        raise Invalid(
            f"This sweep makes {count:,} jobs; there must be 1 to {MAX_SWEEP:,}. Try fewer values, or draw some of "
            "the combinations and submit them as a list of dicts.",
            field="sweep",
        )
    if not isinstance(sweep, Mapping):
        return tuple(parameters_of(one) for one in sweep)
    return tuple(dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values()))


def _values(name: str, given: Iterable[Any]) -> list[Any]:
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise Invalid(f"sweep: {name!r} needs a list of values, such as [{given!r}].", field="sweep")
    return [plain(name, value) for value in given]


def parse_memory(text: int | str | None) -> int | None:
    """Return an amount of memory in bytes.

    Examples
    --------
    >>> parse_memory("2GB"), parse_memory("512 MiB"), parse_memory(1000), parse_memory(None)
    (2000000000, 536870912, 1000, None)
    """
    if text is None or isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise Invalid(f"{text!r} is no amount of memory. Write 500MB, 2GB or 4GiB.", field="memory")
    return int(float(match[1]) * unit)


def parse_seconds(text: float | str | None, field: str = "timeout") -> float | None:
    """Return a length of time in seconds.

    Examples
    --------
    >>> parse_seconds("90"), parse_seconds("15m"), parse_seconds("1.5h"), parse_seconds(20), parse_seconds(None)
    (90.0, 900.0, 5400.0, 20.0, None)
    """
    if text is None or not isinstance(text, str):
        return None if text is None else float(text)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if match is None:
        raise Invalid(f"{text!r} is no length of time. Write 90 (seconds), 15m, 2h or 1d.", field=field)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
