"""The notebook's magics, one module a noun. ``%load_ext jupyter_ext`` registers them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_ext.magics._base import ClientMagics

_MODULES = {
    "clusters": "ClusterMagics",
    "jobs": "JobMagics",
    "labels": "LabelMagics",
    "models": "ModelMagics",
    "monitors": "MonitorMagics",
}


def _classes() -> list[type[ClientMagics]]:
    return [getattr(import_module(f"{__name__}.{module}"), name) for module, name in _MODULES.items()]


def load(shell: InteractiveShell) -> None:
    """Register every magic and its completer."""
    for cls in _classes():
        shell.register_magics(cls)
        for name, complete in cls.completers.items():
            for written in (f"%{name}", f"%%{name}"):
                shell.set_hook("complete_command", _hook(complete), str_key=written)


def unload(shell: InteractiveShell) -> None:
    """Take every magic away and close the shared client."""
    from jupyter_ext.magics._base import forget_client

    for cls in _classes():
        for kind, magics in cls.magics.items():
            for name in magics:
                shell.magics_manager.magics[kind].pop(name, None)
    forget_client()


def _hook(complete: Any) -> Any:
    from jupyter_ext.errors import JupyterExtError
    from jupyter_ext.magics._base import shared_client

    def hook(_shell: Any, event: Any) -> list[str]:
        try:
            return list(complete(shared_client(), event.line))
        except JupyterExtError:
            # Completion is a convenience: without a server there is nothing to offer, and no place for an error.
            return []

    return hook
