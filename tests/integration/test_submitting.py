"""Functions, sweeps and schedules from a notebook, against a real server and its real Ray head."""

from __future__ import annotations

import asyncio
import platform
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import jupyter_ext
from jupyter_ext.client import Client
from jupyter_ext.clusters import keeper
from jupyter_ext.clusters.environment import Environment, read_environment
from jupyter_ext.errors import Conflict, Invalid, NotFound
from jupyter_ext.jobs.values import JobState
from support import server as servers
from support.waiting import wait_until

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))


def test_a_function_runs_with_what_it_refers_to(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").write_text("class Points(list):\n    pass\n\ndef slope(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    beside = __import__("beside")
    offset = 4

    def line(xs: list[float], power: int = 1) -> dict[str, Any]:
        from jupyter_ext.jobs import progress

        progress(1, 1, power=power)
        return {"ys": beside.Points(beside.slope(x) ** power + offset for x in xs)}

    job = client.jobs.options(tags={"team": "a"}).submit(line, [1, 2], power=2)
    assert job.result() == {"ys": [13, 40]}
    assert type(job.result()["ys"]) is beside.Points
    assert job.parameters == {"power": 2}
    detail = job.refresh()
    assert (detail.name, detail.tags) == ("line", {"team": "a"})
    assert "#     return {" in detail.source
    # In another kernel it is the same job, with the same result.
    script = f"""
        import jupyter_ext
        workspace = jupyter_ext.connect({client.transport.url!r}, {servers.TOKEN!r})
        print(workspace.jobs.get("line").result(), workspace.jobs.get({job.id!r}).name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "{'ys': [13, 40]} line\n"
    del sys.modules["beside"]


def test_a_function_that_fails_says_where(client: Any) -> None:
    def broken(x: float) -> float:
        return x / 0

    job = client.jobs.submit(broken, 1)
    with pytest.raises(Conflict, match="ZeroDivisionError"):
        job.result()
    assert "    return x / 0\n" in job.logs()


def test_a_job_is_awaited_beside_other_things(client: Any) -> None:
    def slow(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    async def wait() -> tuple[Any, int, JobState]:
        jobs = client.jobs.options(cpus=0)
        first, second, other = jobs.submit(slow, 0.5), jobs.submit(slow, 0.25), jobs.submit(slow, 120)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.05)
                ticks += 1

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(first, second)
        ticking.cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other, 0.2)
        state = other.state
        other.cancel()
        return results, ticks, state

    results, ticks, state = asyncio.run(wait())
    assert results == [0.5, 0.25]
    assert ticks > 5, "the notebook went on meanwhile"
    assert not state.final, "giving up the wait left the job alone"


def test_a_sweep_is_a_table(client: Any) -> None:
    def score(lr: float, depth: int, base: list[float]) -> float:
        from jupyter_ext.jobs import progress

        progress(1, 1, lr=lr, loss=base[0] * lr)
        if depth == 9:
            raise ValueError("too deep")
        return lr * depth

    sweep = [{"lr": 0.5, "depth": 2}, {"lr": 1, "depth": 3}, {"lr": 1, "depth": 9}]
    job = client.jobs.options(sweep=sweep, cpus=0).submit(score, base=[10.0])
    assert job.wait(timeout=120, show=False).state is JobState.FAILED
    table = job.result()
    assert list(table.index) == ["score-1", "score-2", "score-3"]
    assert list(table.columns) == ["lr", "depth", "state", "lr_", "loss", "result"]
    assert table["state"].tolist() == ["succeeded", "succeeded", "failed"]
    assert table["result"].tolist()[:2] == [1.0, 3]
    assert table["loss"].tolist() == [5.0, 10.0, 10.0]
    children = job.children()
    assert [child.parameters["depth"] for child in children] == [2, 3, 9]
    assert "too deep" in children[2].logs()
    card = job._repr_html_()
    assert "lr=0.5, depth=2" in card
    assert "1 of 3 jobs failed" in card
    assert "result" not in job.results(fetch=False)


def test_a_notebook_comes_back_as_it_was_run(client: Any, tmp_path: Path) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    month = new_code_cell("month = 'april'", metadata={"tags": ["parameters"]})
    old = new_code_cell("total = base + 1\nprint(month, total)", outputs=[new_output("stream", text="old")])
    nbformat.write(new_notebook(cells=[month, old]), tmp_path / "report.ipynb")
    jobs = client.jobs.options(parameters={"month": "may"}, send={"base": 41}, fetch="total")
    job = jobs.submit(tmp_path / "report.ipynb")
    assert job.result(timeout=120) == {"total": 42}
    run = job.notebook(tmp_path / "run.ipynb")
    assert run.cells[-1].outputs[0].text == "may 42\n"
    assert nbformat.read(tmp_path / "run.ipynb", as_version=4) == run
    assert job.name == "report"
    with pytest.raises(NotFound, match="runs no notebook"):
        client.jobs.submit("1").notebook()


def test_a_command_finds_its_parameters(client: Any, tmp_path: Path) -> None:
    jobs = client.jobs.options(parameters={"lr": 0.1}, sweep={"depth": [2, 3]}, cpus=0)
    job = jobs.submit(jupyter_ext.shell("echo $lr $depth"))
    assert job.wait(timeout=120, show=False).state is JobState.SUCCEEDED
    assert [child.logs().splitlines()[-1] for child in job.children()] == ["0.1 2", "0.1 3"]
    assert job.result()["state"].tolist() == ["succeeded", "succeeded"]


def test_code_that_hands_back_nothing_has_no_result(client: Any) -> None:
    assert client.jobs.submit("1 + 1").result(timeout=60) is None


def test_what_comes_after_waits_and_pause_holds(client: Any) -> None:
    first = client.jobs.options(cpus=0, name="held").submit("import time; time.sleep(60)")
    second = client.jobs.submit("1", after=first)
    third = client.jobs.submit("1", after=[second, "held"], priority=5)
    assert third.refresh().after == (second.id, first.id)
    assert first.pause().state in (JobState.PAUSED, JobState.CANCELLING)
    wait_until(lambda: first.state is JobState.PAUSED)
    assert "paused" in first._repr_html_()
    assert first.resume().state in (JobState.QUEUED, JobState.ADMITTED, JobState.STARTING)
    first.cancel()
    assert second.wait(timeout=60, show=False).state in (JobState.FAILED, JobState.CANCELLED)


def test_schedules(client: Any) -> None:
    schedules = client.jobs.schedules
    jobs = client.jobs.options(name="each morning", timezone="Europe/Berlin", cpus=0)
    made = jobs.schedule("0 6 * * mon-fri", lambda month: month, month="may")
    assert (made.name, made.timezone, made.enabled) == ("each morning", "Europe/Berlin", True)
    assert "0 6 * * mon-fri (Europe/Berlin)" in repr(made)
    assert "06:00" in repr(schedules.list())
    assert schedules.pause("each morning").next_at is None
    assert "paused" in schedules.list()._repr_html_()
    assert schedules.resume(made.id).next_at == made.next_at
    with pytest.raises(Conflict, match="a schedule 'each morning' already"):
        jobs.schedule("0 6 * * *", "1")
    with pytest.raises(Invalid, match="is no schedule"):
        client.jobs.schedule("every day", "1")
    with pytest.raises(Invalid, match="time zone belongs to a schedule"):
        jobs.submit("1")
    schedules.delete("each morning")
    with pytest.raises(NotFound, match="no schedule 'each morning'"):
        schedules.get("each morning")


def test_what_a_job_was_made_of_is_recorded(client: Any) -> None:
    import numpy as np
    import pandas as pd

    data = client.datasets.register("points", pd.DataFrame({"key": ["a", "b"], "x": [1.0, 2.0]}), key="key")
    job = client.jobs.submit("x = n + 1", parameters={"n": 1}, dataset=data, fetch="x", tags={"team": "a"})
    known = client.jobs.get(job.id).refresh()
    assert (known.source, known.parameters, known.dataset_id) == ("x = n + 1", {"n": 1}, data.id)
    assert known.environment["python"] == platform.python_version()
    assert known.environment["numpy"] == np.__version__
    # Another version of the data is another id.
    later = client.datasets.register("points", pd.DataFrame({"key": ["a"], "x": [3.0]}), key="key")
    assert client.jobs.submit("x = 1", dataset=later).refresh().dataset_id == later.id != data.id
    assert job.result(timeout=120) == {"x": 2}


def test_metrics_become_a_run_of_mlflow(client: Any, server: servers.Server) -> None:
    source = "from jupyter_ext.jobs import progress\nfor n in (1, 2): progress(n, 2, loss_of_mine=1 / n)"
    client.jobs.submit(source, name="measured", cpus=0).result(timeout=120)

    def kept() -> list[tuple[float, int]]:
        try:
            with closing(sqlite3.connect(f"file:{server.home / 'mlflow.db'}?mode=ro", uri=True)) as database:
                found = "SELECT value, step FROM metrics WHERE key = 'loss_of_mine' ORDER BY step"
                return [(value, step) for value, step in database.execute(found)]
        except sqlite3.OperationalError:  # MLflow has not made its tables yet
            return []

    wait_until(lambda: kept() == [(1.0, 1), (0.5, 2)])


def test_usage_is_told(client: Any) -> None:
    client.jobs.submit("1").result()
    used = client.jobs.usage("1h")
    assert used.attempts >= 1
    assert used.cpu_seconds > 0
    assert "of CPU" in repr(used)


@pytest.mark.parametrize(
    ("thing", "options", "said"),
    [
        ("import nowhere_to_be_found", {}, "no module 'nowhere_to_be_found', which the job's code imports"),
        ("1", {"sweep": {"x": range(1001)}}, "makes 1,001 jobs"),
        ("1", {"sweep": {"class": [1]}}, "word of Python's own"),
        ("1", {"after": "nobody"}, "no job 'nobody'"),
        ("train.py", {}, r"name of a file. Submit it as Path\('train.py'\)"),
        (Path("nowhere.ipynb"), {}, "no file"),
        (jupyter_ext.shell("ls"), {"fetch": ["x"]}, "no variables to send or to fetch"),
        (3, {}, "A int can't be submitted"),
    ],
)
def test_wrong_submissions_are_told(client: Any, thing: Any, options: Any, said: str) -> None:
    with pytest.raises((Invalid, NotFound), match=said):
        client.jobs.submit(thing, **options)


def test_what_the_cluster_lacks_is_refused_and_what_differs_is_told(
    client: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The notebook's Python plays one with other packages than the cluster's."""
    from jupyter_ext.client import jobs

    real = read_environment()
    other = Environment(
        python="3.9.1",
        packages={**real.packages, "numpy": "99.0", "brand-new": "1.0"},
        modules={**real.modules, "brand_new": ("brand-new",)},
    )
    monkeypatch.setattr(jobs, "read_environment", lambda: other)
    with pytest.raises(Invalid, match=r"Install it there: .* -m pip install brand-new==1\.0\. Or submit it with check"):
        client.jobs.submit("import brand_new")
    client.jobs.submit("import brand_new", check=False).cancel()
    import numpy as np

    client.jobs.submit("import json", send={"x": np.zeros(2)}).cancel()
    said = capsys.readouterr().out
    assert "The notebook runs Python 3.9, your cluster" in said
    assert "numpy is 99.0 in the notebook and" in said


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[servers.Server]:
    running = servers.start(tmp_path / "server")
    yield running
    running.stop()


def test_a_submission_survives_a_stopped_server(own_server: servers.Server, tmp_path: Path, capsys: Any) -> None:
    client = jupyter_ext.connect(own_server.url, own_server.token)
    own_server.stop()
    job = client.jobs.options(cpus=0).submit(pow, 2, 10)
    assert "is kept on this machine" in capsys.readouterr().out
    again = servers.start(tmp_path / "server", port=int(own_server.url.rsplit(":")[-1].strip("/")))
    try:
        # Waiting for the result is asking for it.
        assert job.result(timeout=120) == 1024
        assert [known.id for known in client.jobs.list()] == [job.id]
        assert client.jobs.flush() == []
    finally:
        client.transport.close()
        again.stop()


def test_a_wait_bears_a_server_that_is_started_again(own_server: servers.Server, tmp_path: Path) -> None:
    client: Client = jupyter_ext.connect(own_server.url, own_server.token)
    port = int(own_server.url.rsplit(":")[-1].strip("/"))
    job = client.jobs.submit("import time; time.sleep(8); x = 1", fetch="x")

    async def wait() -> Any:
        waiting = asyncio.ensure_future(job._ended())
        await asyncio.to_thread(own_server.stop)
        again = await asyncio.to_thread(lambda: servers.start(tmp_path / "server", port=port))
        try:
            return await waiting
        finally:
            again.stop()

    assert asyncio.run(wait()) == {"x": 1}
    client.transport.close()


WALK = """
import time
from jupyter_ext.jobs import checkpoint, progress
saved = checkpoint.latest()
seen = saved.state if saved else []
for step in range(len(seen) + 1, 31):
    time.sleep(0.25)
    seen.append(step)
    checkpoint.save(step, seen)
    progress(step, 30)
"""


@pytest.mark.parametrize("what", ["server", "machine"])
def test_what_is_killed_costs_no_job(
    own_server: servers.Server, tmp_path: Path, tell: Callable[[str], None], what: str
) -> None:
    """The server alone, or all processes at once as when a machine loses its power, and comes back."""
    client: Client = jupyter_ext.connect(own_server.url, own_server.token)
    port = int(own_server.url.rsplit(":")[-1].strip("/"))
    job = client.jobs.submit(WALK, name="walk", fetch="seen")
    wait_until(lambda: job.progress is not None and job.progress.step >= 4)
    own_server.process.kill()
    own_server.process.wait()
    if what == "machine":
        [folder] = (own_server.home / "clusters").glob("*/")
        holder = keeper.lock_holder(folder)
        assert holder is not None
        below = psutil.Process(holder).children(recursive=True)
        for process in (psutil.Process(holder), *below):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    start = time.monotonic()
    again = servers.start(tmp_path / "server", port=port)
    try:
        assert job.result(timeout=200) == {"seen": list(range(1, 31))}
        attempts = job.refresh().attempts
        assert len(attempts) == (2 if what == "machine" else 1), job.message
        assert all((attempt.resumed_step or 0) >= 4 for attempt in attempts[1:])
        tell(f"{what} killed and started again: the job is done after {time.monotonic() - start:.1f} s")
    finally:
        client.transport.close()
        again.stop()
