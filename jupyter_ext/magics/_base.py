"""What every magic shares: the client of this kernel's workspace, errors as one sentence, completion, ``--help``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic import Magics

from jupyter_ext.client import Client, connect
from jupyter_ext.errors import JupyterExtError

F = TypeVar("F", bound=Callable[..., Any])

#: Completes the arguments of one magic: ``(client, line so far) -> candidates``.
Completer = Callable[[Client, str], list[str]]


class ClientMagics(Magics):
    """Base of our magics.

    ``completers`` maps a magic's name to what completes its arguments.
    """

    completers: dict[str, Completer] = {}

    @property
    def client(self) -> Client:
        """The client of this kernel's workspace, connected on first use and shared by all our magics."""
        return shared_client()

    @property
    def variables(self) -> dict[str, Any]:
        """The notebook's variables."""
        assert self.shell is not None, "magics belong to a shell"
        return dict(self.shell.user_ns)


_client: Client | None = None


def shared_client() -> Client:
    """Return this kernel's one client."""
    global _client
    if _client is None:
        _client = connect()
    return _client


def forget_client() -> None:
    """Close the shared client; the next use connects again."""
    global _client
    if _client is not None:
        _client.transport.close()
    _client = None


def told_plainly(magic: F) -> F:
    """Answer ``--help``, and turn our errors into a `UsageError`: the notebook shows the sentence, no traceback."""

    @functools.wraps(magic)
    def wrapper(self: ClientMagics, line: str, *cell: str) -> Any:
        if "--help" in line.split():
            # IPython's parser for magics knows no --help by itself; `magic_arguments` leaves it on the function.
            print(getattr(wrapper, "parser").format_help())  # noqa: B009
            return None
        try:
            return magic(self, line, *cell)
        except JupyterExtError as error:
            raise UsageError(error.message) from error

    return wrapper  # type: ignore[return-value]
