"""The whole loop in a real hub: start it, sign in, spawn a server, run a notebook in a kernel there, stop everything.

``python tools/demo.py`` runs the quickstart and says what came of it; ``--keep`` leaves the hub running for a person.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from kernel import CellFailed, RemoteKernel, run_notebook
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from processes import adopt_orphans, describe, end, left_over
from results import results

from jupyter_ext.hub import HubSession, LaptopSettings, LocalHub, user_folder
from jupyter_ext.hub.process import tail

ROOT = Path(__file__).resolve().parent.parent
USER = "ada"
_WIDGET = "application/vnd.jupyter.widget-view+json"
# The page is read offline too: what nbconvert would load from the network is left out.
_OFFLINE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}{% block jupyter_widgets %}{% endblock %}"""


class StepFailed(Exception):
    """A step of the demo failed; the message says which and why."""


class Steps:
    """Print each step as it happens, with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    @contextmanager
    def step(self, title: str, log: Path | None = None) -> Iterator[None]:
        """Announce a step; if it fails, say so with the last lines of ``log``."""
        self.say(title)
        try:
            yield
        except Exception as error:
            said = f"{title}: {error}" if str(error) else f"{title}: {error!r}"
            raise StepFailed(f"{said}\n\nThe end of {log}:\n{tail(log, 15)}" if log else said) from error


def main() -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the hub running and print how to sign in")
    parser.add_argument("--notebook", type=Path, default=ROOT / "examples" / "quickstart.ipynb")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that one cell may take")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the hub's state and the results go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    adopt_orphans()

    steps = Steps()
    home = options.build.absolute() / ("lab" if options.keep else "demo")
    if not options.keep:
        shutil.rmtree(home, ignore_errors=True)
    settings = LaptopSettings(
        home=home,
        password=secrets.token_urlsafe(12),
        users=(USER,),
        proxy=os.environ.get("JUPYTER_EXT_HUB_PROXY", LaptopSettings.proxy),
    )
    hub = LocalHub(settings, ROOT / "hub_config" / "jupyterhub_config.py")
    status = 1
    try:
        with steps.step("Start JupyterHub", hub.log_path):
            hub.start()
        (keep if options.keep else run)(steps, hub, options)
        status = 0
    except StepFailed as failure:
        print(f"\nFAILED  {failure}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted; stopping everything.", file=sys.stderr, flush=True)
        status = 0 if options.keep else 130
    finally:
        # A second Ctrl-C must not leave processes behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        nothing_left = stop(steps, hub)
    # A person's Ray cluster is meant to outlive the hub for a while, but not `make lab`.
    return status or (0 if nothing_left or options.keep else 1)


def run(steps: Steps, hub: LocalHub, options: argparse.Namespace) -> None:
    """Sign a user in, run the notebook on their server, show what came of it."""
    notebook = nbformat.read(options.notebook, as_version=4)
    server_log = user_folder(hub.settings.home, USER) / "server.log"
    with steps.step(f"Sign in {USER}", hub.log_path):
        session = HubSession(hub.url, USER, hub.settings.password)
    with session:
        with steps.step(f"Spawn {USER}'s server", server_log):
            for each in session.start_server():
                steps.say(f"  {each.progress:3d} %  {each.message}")
            session.request("GET", "/jupyter-ext/api/v1/status").raise_for_status()
            upload(session, options.notebook.name, notebook)
        try:
            try:
                with steps.step(f"Run {options.notebook.name} in a kernel of that server", server_log):
                    execute(steps, session, options.notebook.name, notebook, options.timeout)
            finally:
                save(steps, notebook, options.build / options.notebook.stem)
            with steps.step("Read the results back from the workspace", server_log):
                rows = results(session)
        finally:
            with steps.step(f"Stop {USER}'s Ray cluster and server", server_log):
                stop_clusters(session)
                session.stop_server()
    print("\n" + "\n".join(f"  {what:<10}  {found}" for what, found in rows) + "\n", flush=True)


def execute(steps: Steps, session: HubSession, path: str, notebook: NotebookNode, timeout: float) -> None:
    """Run the notebook's cells, one printed line each."""
    count = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)
    with RemoteKernel(session, path, notebook.metadata.get("kernelspec", {}).get("name", "python3")) as kernel:
        done = 0
        try:
            for cell in run_notebook(kernel, notebook, timeout):
                done = cell.number
                steps.say(f"  [{cell.number:2d}/{count}] {cell.seconds:5.1f} s  {cell.title}")
        except CellFailed as failure:
            raise CellFailed(f"code cell {done + 1} of {count}\n{failure}") from failure


def stop_clusters(session: HubSession) -> None:
    """Stop the user's Ray clusters: they outlive the server, so that jobs go on while it restarts."""
    clusters = session.request("GET", "/jupyter-ext/api/v1/clusters")
    clusters.raise_for_status()
    for cluster in clusters.json()["items"]:
        stopped = session.request("POST", f"/jupyter-ext/api/v1/clusters/{cluster['name']}/stop", timeout=120)
        stopped.raise_for_status()


def upload(session: HubSession, path: str, notebook: NotebookNode) -> None:
    """Put the notebook into the user's folder."""
    content = {"type": "notebook", "format": "json", "content": notebook}
    session.request("PUT", f"/api/contents/{path}", json=content).raise_for_status()


def save(steps: Steps, notebook: NotebookNode, path: Path) -> None:
    """Write the executed notebook and a page of it that needs no network and no kernel."""
    nbformat.write(notebook, path.with_suffix(".ipynb"))
    static = nbformat.from_dict(notebook)
    for cell in static.cells:
        for output in cell.get("outputs", []):
            if len(output.get("data", {})) > 1:
                output["data"].pop(_WIDGET, None)
    page, _ = HTMLExporter(raw_template=_OFFLINE).from_notebook_node(static)
    path.with_suffix(".html").write_text(page)
    steps.say(f"Saved {path.with_suffix('.ipynb')} and {path.with_suffix('.html').name}")


def keep(steps: Steps, hub: LocalHub, options: argparse.Namespace) -> None:
    """Say how to sign in, and wait until the hub ends or a person presses Ctrl-C."""
    folder = user_folder(hub.settings.home, USER)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / options.notebook.name).exists():
        shutil.copy(options.notebook, folder)
    steps.say("JupyterHub runs. Press Ctrl-C to stop it and everything in it.")
    print(f"\n  address   {hub.url}\n  user      {USER}\n  password  {hub.settings.password}\n", flush=True)
    assert hub.process is not None
    hub.process.wait()
    raise StepFailed(f"The hub ended by itself:\n{tail(hub.log_path)}")


def stop(steps: Steps, hub: LocalHub) -> bool:
    """Stop the hub with everything it started; return whether nothing was left to be killed."""
    steps.say("Stop JupyterHub")
    hub.stop()
    remaining = left_over(patience=15)
    if not remaining:
        steps.say("Everything that was started has ended")
        return True
    print(f"\nThese processes were left running, and are now ended:\n{describe(remaining)}", file=sys.stderr)
    end(remaining)
    return False


if __name__ == "__main__":
    sys.exit(main())
