"""The longest time the event loop did not come round while jobs, votes and model calls were going on.

The same server without us, under the same heart beat, is measured in the same run: what the machine does to any loop.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from support.postgres import free_port

_BEAT = 0.002
_TOKEN = "bench-token"


_WORK = """
import sys
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from jupyter_ext.client import Client

client = Client(*sys.argv[1:])
rng = np.random.default_rng(0)
frame = pd.DataFrame({"key": [f"k{n}" for n in range(20_000)], "x": rng.normal(size=20_000)})
data = client.datasets.register("bench", frame, key="key")
task = client.labels.task("bench", data, classes=["a", "b"])
job = client.jobs.submit("for n in range(200):\\n    print('line', n)\\nvalue = 1", name="bench", fetch=["value"])
for start in range(0, 20_000, 1000):
    task.vote({f"k{n}": "ab"[n % 2] for n in range(start, start + 1000)})
model = LogisticRegression().fit(frame[["x"]], (frame["x"] > 0).to_numpy())
for _ in range(3):
    version = client.models.register("bench", model, example=frame[["x"]].head())
    client.models.promote("bench", version.version, "champion", reason="bench")
    client.models.list()
job.wait(timeout=180)
job.logs()
client.clusters.stop()
"""


async def _serve(with_us: bool, folder: Path) -> float:
    from jupyter_server.serverapp import ServerApp

    # Only what is named here, not what else this environment has enabled.
    ServerApp.find_server_extensions = lambda self: None  # type: ignore[method-assign]
    os.environ["JUPYTER_EXT_HOME"] = str(folder / "home")
    app = ServerApp(
        jpserver_extensions={"jupyter_ext": True} if with_us else {},
        root_dir=str(folder), log_level="ERROR", open_browser=False, allow_root=True, ip="127.0.0.1", port=free_port(),
    )  # fmt: skip
    app.config.IdentityProvider.token = _TOKEN
    app.initialize(argv=[])
    await app.extension_manager.start_all_extensions()
    # A process of its own, as a kernel is: what it imports stalls nobody else.
    work = _WORK if with_us else "import time; time.sleep(20)"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", work, app.connection_url, _TOKEN, stdout=asyncio.subprocess.DEVNULL
    )
    ended = asyncio.ensure_future(child.wait())
    gaps: list[float] = []
    last = time.perf_counter()
    while not ended.done():
        await asyncio.sleep(_BEAT)
        now = time.perf_counter()
        gaps.append(now - last - _BEAT)
        last = now
    await app.extension_manager.stop_all_extensions()
    app.http_server.stop()
    if child.returncode:
        raise RuntimeError("the work failed; see above")
    return max(gaps)


def measure() -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    worst: dict[bool, float] = {}
    for with_us in (False, True):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            worst[with_us] = asyncio.run(_serve(with_us, Path(folder)))
    return [
        (
            "longest stall of the event loop",
            f"{worst[True] * 1e3:.0f} ms (idle, without us: {worst[False] * 1e3:.0f} ms)",
            "≤ 50 ms",
        )
    ]
