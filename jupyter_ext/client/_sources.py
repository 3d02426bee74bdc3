"""What people hand over to be run (text, a file, a command, a function with its arguments) as a job's source."""

from __future__ import annotations

import ast
import inspect
import json
import keyword
import re
import shlex
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jupyter_ext.client import _options
from jupyter_ext.errors import Invalid
from jupyter_ext.jobs.commands import Command
from jupyter_ext.jobs.functions import Travelling, source_of

#: The most characters that a job's source may have.
MAX_SOURCE = 1_000_000
#: The variable in which a job leaves what a function returned.
RETURNED = "_returned"
_SUFFIXES = (".py", ".ipynb", ".sh")
_GUARDS = {"ImportError", "ModuleNotFoundError", "Exception"}
#: Values that are told in the open as the job's parameters; larger ones and others are pickled.
_OPEN_TYPES = (bool, int, float, str, type(None))
_OPEN_LENGTH = 200


@dataclass(frozen=True)
class Work:
    """What a job is to run.

    ``variables`` are pickled, ``parameters`` are plain values that everybody may see; ``imports`` are the top-level
    modules that the source imports.
    """

    kind: Literal["python", "shell", "notebook"]
    source: str
    name: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fetch: tuple[str, ...] = ()
    imports: frozenset[str] = frozenset()


def of_text(text: str) -> Work:
    """Return Python source as work.

    Examples
    --------
    >>> sorted(of_text("import numpy.linalg as la").imports)
    ['numpy']
    >>> of_text("train.py")
    Traceback (most recent call last):
    jupyter_ext.errors.Invalid: 'train.py' is the name of a file. Submit it as Path('train.py').
    """
    stripped = text.strip()
    if stripped.endswith(_SUFFIXES) and len(stripped.splitlines()) == 1:
        raise Invalid(f"{stripped!r} is the name of a file. Submit it as Path({stripped!r}).")
    if not stripped:
        raise Invalid("There is no code to submit.")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        line = (error.text or "").strip()
        hint = " Lines with % and ! are the notebook's own and don't run in a job." if line[:1] in ("%", "!") else ""
        raise Invalid(f"The job's code has an error in line {error.lineno}: {error.msg}: {line}.{hint}") from error
    return Work("python", text, "job", imports=frozenset(imports(tree)))


def of_file(path: Path) -> Work:
    """Return a Python file, a notebook or a shell script as work."""
    if path.suffix not in _SUFFIXES:
        raise Invalid(f"{str(path)!r} can't be submitted: a job runs a .py, .ipynb or .sh file.")
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Invalid(f"There is no file {str(path)!r}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{str(path)!r} can't be read: {error}") from error
    name = _name(path.stem)
    if path.suffix == ".sh":
        return Work("shell", _command(text), name)
    if path.suffix == ".ipynb":
        return _notebook(text, path, name)
    found = of_text(text)
    return Work("python", found.source, name, imports=found.imports)


def of_command(command: Command) -> Work:
    """Return a shell command as work."""
    text = _command(command.text)
    try:
        words = shlex.split(text.splitlines()[0])
    except ValueError:
        words = []
    return Work("shell", text, _name(Path(words[0]).name) if words else "shell")


def of_function(
    function: Callable[..., Any], args: tuple[Any, ...], keywords: Mapping[str, Any], later: Collection[str] = ()
) -> Work:
    """Return the call of a function as work.

    Numbers and words among the arguments become parameters of the job, which everybody reads in lists; the others are
    pickled.

    Parameters
    ----------
    later
        Names of arguments whose values come from the job's parameters.

    Raises
    ------
    Invalid
        The function can't be called so.

    Examples
    --------
    >>> def train(X, lr=0.1): return lr
    >>> work = of_function(train, ([1, 2],), {"lr": 0.5})
    >>> work.source.splitlines()[-1], dict(work.parameters), sorted(work.variables)
    ('_returned = train(X=X, lr=lr)', {'lr': 0.5}, ['X', 'train'])
    """
    called = getattr(function, "__name__", type(function).__name__)
    twice = sorted(set(keywords) & set(later))
    if twice:
        raise Invalid(f"{twice[0]!r} is given twice: as an argument, and as a parameter of the sweep or the job.")
    words, values = _arguments(function, called, args, {**keywords, **dict.fromkeys(later)})
    variable = called if called.isidentifier() and not keyword.iskeyword(called) and called not in values else "_called"
    given = {name: value for name, value in values.items() if name not in later}
    shown = {name: value for name, value in given.items() if _is_open(name, value)}
    text = source_of(function) or "(not known)\n"
    about = "".join(f"# {line}".rstrip() + "\n" for line in textwrap.dedent(text)[: MAX_SOURCE // 2].splitlines())
    return Work(
        "python",
        f"# What runs is {called} as it was when it was submitted, with all that it refers to. Its source:\n"
        f"#\n{about}\n{RETURNED} = {variable}({', '.join(words)})\n",
        _name(called),
        variables={variable: Travelling(function)} | {name: given[name] for name in given.keys() - shown.keys()},
        parameters=shown,
        fetch=(RETURNED,),
        imports=frozenset(_imports_of_text(text)),
    )


def _arguments(
    function: Callable[..., Any], called: str, args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Return the words between the call's brackets, and the values of the variables in them."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # functions written in C may tell nothing
        signature = inspect.signature(lambda *args, **keywords: None)
    try:
        bound = signature.bind(*args, **keywords).arguments
    except TypeError as error:
        option = next((name for name in keywords if name in _options.NAMES and repr(name) in str(error)), None)
        hint = f" Options go before: jobs.options({option}=…).submit({called}, …)." if option else ""
        raise Invalid(f"{called} can't be called so: {error}.{hint}") from error
    words: list[str] = []
    values: dict[str, Any] = {}
    kinds = {name: signature.parameters[name].kind for name in bound}
    # Before *args every argument is told by its place.
    by_place = inspect.Parameter.VAR_POSITIONAL in kinds.values()
    for name, value in bound.items():
        if kinds[name] is inspect.Parameter.VAR_KEYWORD:
            words += [f"{each}={each}" for each in value]
            values |= value
            continue
        values[name] = value
        if kinds[name] is inspect.Parameter.VAR_POSITIONAL:
            words.append(f"*{name}")
        elif kinds[name] is inspect.Parameter.POSITIONAL_ONLY or (
            kinds[name] is inspect.Parameter.POSITIONAL_OR_KEYWORD and by_place
        ):
            words.append(name)
        else:
            words.append(f"{name}={name}")
    if len(values) < len(words) or not all(name.isidentifier() and not keyword.iskeyword(name) for name in values):
        raise Invalid(f"{called} can't be called in a job with arguments of these names; wrap it in a function.")
    return words, values


def _is_open(name: str, value: Any) -> bool:
    if type(value) not in _OPEN_TYPES or not name.isascii() or name.startswith("_"):
        return False
    return abs(value) < float("inf") if isinstance(value, float) else len(str(value)) <= _OPEN_LENGTH


def _notebook(text: str, path: Path, name: str) -> Work:
    try:
        found = json.loads(text)
        cells = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    except (ValueError, TypeError, KeyError) as error:
        raise Invalid(f"{str(path)!r} is no notebook of today's format. Open it in JupyterLab and save it.") from error
    needed: set[str] = set()
    for cell in cells:
        # What it showed last time may be large, and is nobody's business.
        cell["outputs"], cell["execution_count"] = [], None
        source = cell.get("source", "")
        needed |= _imports_of_text(_without_magics(source if isinstance(source, str) else "".join(source)))
    found.get("metadata", {}).pop("widgets", None)
    stripped = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    if len(stripped) > MAX_SOURCE:
        raise Invalid(
            f"{str(path)!r} has {len(stripped) / 1e6:.1f} million characters without its outputs, and may have "
            f"{MAX_SOURCE / 1e6:g} million. Are there images in its text? Keep them in files beside it.",
            field="source",
        )
    if re.search(r"\bpip3?\s+install\b|\b(conda|mamba|uv)\s+", stripped):
        # It brings its own packages.
        needed = set()
    return Work("notebook", stripped, name, imports=frozenset(needed))


def _without_magics(source: str) -> str:
    if source.lstrip().startswith("%%"):
        return ""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return TransformerManager().transform_cell(source)  # type: ignore[no-untyped-call]
    except SyntaxError:
        return ""


def _command(text: str) -> str:
    if not text.strip():
        raise Invalid("There is no command to submit.")
    return text


def _name(text: str) -> str:
    """Return a name for a job after something.

    Examples
    --------
    >>> _name("<lambda>"), _name("train (2)"), _name("süß"), _name("…")
    ('lambda', 'train-2', 's', 'job')
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")[:128] or "job"


def _imports_of_text(text: str) -> set[str]:
    try:
        return set(imports(ast.parse(textwrap.dedent(text))))
    except SyntaxError:  # a lambda's source is the line that it stands in
        return set()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level modules that code imports, but for those it can do without.

    Examples
    --------
    >>> code = "import a.b\\ntry:\\n    import c\\nexcept ImportError:\\n    from d import e\\nfrom . import f"
    >>> sorted(imports(ast.parse(code)))
    ['a', 'd']
    """
    if isinstance(tree, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        if tree.module and not tree.level:
            yield tree.module.partition(".")[0]
    elif isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        for other in tree.orelse:
            yield from imports(other)
    else:
        skipped = tree.body if isinstance(tree, ast.Try) and any(map(_guards, tree.handlers)) else []
        for node in ast.iter_child_nodes(tree):
            if node not in skipped:
                yield from imports(node)


def _guards(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or any(name in ast.unparse(handler.type) for name in _GUARDS)
