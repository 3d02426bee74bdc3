"""Typed functions that ``hub_config`` calls, and a hub of one machine as a child process.

Nothing here imports the rest of the package but its errors, and nothing else imports this.
"""

from __future__ import annotations

from jupyter_ext.hub.laptop import LaptopSettings, configure_laptop, user_folder
from jupyter_ext.hub.process import LocalHub
from jupyter_ext.hub.session import HubSession, SpawnStep

__all__ = ["HubSession", "LaptopSettings", "LocalHub", "SpawnStep", "configure_laptop", "user_folder"]
