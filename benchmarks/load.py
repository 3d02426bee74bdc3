"""What the extension costs a Jupyter server: time to load, memory once it serves.

Each figure is a median over whole processes, and a ratio to a peer in the same run: the same server without any
extension, and with jupyter-lsp, an extension that most JupyterLab installations load.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile

_CHILD = """
import asyncio, gc, json, sys, time, psutil
from jupyter_server.serverapp import ServerApp
name, home = sys.argv[1], sys.argv[2]
extensions = {name: True} if name else {}
# Only what is named here, not what else this environment has enabled.
ServerApp.find_server_extensions = lambda self: None
app = ServerApp(jpserver_extensions=extensions, root_dir=home, log_level="ERROR", open_browser=False,
                allow_root=True, port=0, token="bench")
app.config.Workspace.home = home + "/home"
start = time.perf_counter()
app.initialize(argv=[], new_httpserver=False)
loaded = time.perf_counter() - start
async def run():
    begin = time.perf_counter()
    await app.extension_manager.start_all_extensions()
    ready = time.perf_counter() - begin
    gc.collect()
    print(json.dumps({"load": loaded, "ready": ready, "rss": psutil.Process().memory_info().rss}))
    await app.extension_manager.stop_all_extensions()
asyncio.run(run())
"""


def _sample(name: str, folder: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, name, folder], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(runs: int = 7) -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    names = {"bare server": "", "jupyter-lsp": "jupyter_lsp", "jupyter-ext": "jupyter_ext"}
    samples: dict[str, list[dict[str, float]]] = {label: [] for label in names}
    with tempfile.TemporaryDirectory() as folder:
        # The first of each warms the disk's cache and makes the database.
        for name in names.values():
            _sample(name, folder)
        # In turn, so that a machine that slows down slows all of them.
        for _ in range(runs):
            for label, name in names.items():
                samples[label].append(_sample(name, folder))

    def median(label: str, what: str) -> float:
        return statistics.median(sample[what] for sample in samples[label])

    load = {label: (median(label, "load") - median("bare server", "load")) * 1e3 for label in names}
    rss = {label: (median(label, "rss") - median("bare server", "rss")) / 2**20 for label in names}
    ours, peer = "jupyter-ext", "jupyter-lsp"
    return [
        ("load over a bare server", f"{load[ours]:.0f} ms ({peer}: {load[peer]:.0f} ms)", "≤ 150 ms"),
        ("opening the workspace, in a thread", f"{median(ours, 'ready') * 1e3:.0f} ms", ""),
        ("memory over a bare server, serving", f"{rss[ours]:.0f} MB ({peer}: {rss[peer]:.0f} MB)", "≤ 30 MB"),
    ]
