"""The whole workshop of a machine-learning team inside JupyterLab: label, train on Ray, register, watch.

In a notebook::

    %load_ext jupyter_ext
    from jupyter_ext import connect

    workspace = connect()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_ext._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_ext.client import Client
    from jupyter_ext.jobs.commands import Command

__all__ = ["__version__", "connect", "shell"]


def connect(url: str | None = None, token: str | None = None) -> Client:
    """Return a client of the workspace that this kernel belongs to.

    Parameters
    ----------
    url, token
        Where the Jupyter server with the extension is, and its token. Kernels of such a server find both in their
        environment (``JUPYTER_EXT_URL``, ``JUPYTER_EXT_TOKEN``).

    Raises
    ------
    jupyter_ext.errors.Unavailable
        When no server is known or it does not answer; the message says what to do.
    """
    from jupyter_ext.client import connect

    return connect(url, token)


def shell(command: str) -> Command:
    """Return a shell command to submit as a job: ``workspace.jobs.submit(shell("make data"))``.

    It may have many lines, and finds the job's parameters as environment variables.

    Examples
    --------
    >>> shell("python train.py --lr $lr")
    Command(text='python train.py --lr $lr')
    """
    from jupyter_ext.jobs.commands import Command

    return Command(command)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics (``%load_ext jupyter_ext``)."""
    from jupyter_ext.magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magics away again."""
    from jupyter_ext.magics import unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from jupyter_ext.app import JupyterExt

    return [{"module": "jupyter_ext", "app": JupyterExt}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "@jupyter-ext/lab"}]
