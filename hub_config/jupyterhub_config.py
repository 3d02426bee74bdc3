"""JupyterHub on one machine: ``jupyterhub -f hub_config/jupyterhub_config.py``. `make lab` runs it for you.

Settings come from the environment; see ``jupyter_ext.hub.LaptopSettings``.
"""

from jupyter_ext.hub import LaptopSettings, configure_laptop

c = get_config()  # type: ignore[name-defined]  # noqa: F821  (traitlets puts the name here)
configure_laptop(c, LaptopSettings.from_environment())
