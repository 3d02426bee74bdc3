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


async def _beat(gaps: list[tuple[float, float]]) -> None:
    """Note how late each wake-up was, and how long this process computed meanwhile (the rest is the machine's)."""
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(_BEAT)
        late = time.perf_counter() - wall - _BEAT
        gaps.append((late, min(late, time.process_time() - cpu)))


async def _serve(with_us: bool, folder: Path) -> tuple[float, float]:
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
    gaps: list[tuple[float, float]] = []
    beat = asyncio.ensure_future(_beat(gaps))
    await app.extension_manager.start_all_extensions()
    # A process of its own, as a kernel is: what it imports stalls nobody else.
    work = _WORK if with_us else "import time; time.sleep(20)"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", work, app.connection_url, _TOKEN, stdout=asyncio.subprocess.DEVNULL
    )
    await child.wait()
    beat.cancel()
    await app.extension_manager.stop_all_extensions()
    app.http_server.stop()
    if child.returncode:
        raise RuntimeError("the work failed; see above")
    return max(late for late, _ in gaps), max(own for _, own in gaps)


def measure() -> list[tuple[str, str, str]]:
    """Return rows of (what, figure, budget)."""
    worst: dict[bool, tuple[float, float]] = {}
    for with_us in (False, True):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            worst[with_us] = asyncio.run(_serve(with_us, Path(folder)))
    (idle, _), (late, own) = worst[False], worst[True]
    return [
        ("longest stall of the loop by the server itself", f"{own * 1e3:.0f} ms", "≤ 50 ms"),
        ("with what Ray and MLflow take from it", f"{late * 1e3:.0f} ms (idle, without us: {idle * 1e3:.0f} ms)", ""),
    ]
