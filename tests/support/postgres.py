"""A real PostgreSQL for the tests: own data folder, own port, loopback only, stopped by its process id."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import sqlalchemy as sa


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's server binaries, or None when it is not installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)
    return Path(found[0]).parent if found else None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A running server, and databases in it."""

    def __init__(self, folder: Path) -> None:
        where = binaries()
        assert where is not None
        self.folder, self.port = folder, free_port()
        # PostgreSQL refuses to run as root: Debian's package brings a user for it.
        self._as: list[str] = []
        if os.geteuid() == 0:
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        self._run(
            str(where / "initdb"), "-D", str(data), "-U", "test", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"
        )
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={folder} -c fsync=off"
        # It ends with us, also when a test run is killed.
        bound = [*(self._as or ["setpriv"]), "--pdeathsig=INT"] if shutil.which("setpriv") else self._as
        self.process = subprocess.Popen(
            [*bound, str(where / "postgres"), "-D", str(data), *options.split()],
            stdout=subprocess.DEVNULL,
            stderr=(folder / "postgres.log").open("wb") if not self._as else subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait()

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+pg8000://test@127.0.0.1:{self.port}/{database}"

    def create(self, template: str | None = None) -> str:
        """Create a database, as a copy of ``template`` when given, and return its URL."""
        name = f"t_{uuid.uuid4().hex}"
        self.run(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, also when somebody is still connected."""
        self.run(f'DROP DATABASE "{sa.make_url(url).database}" WITH (FORCE)')

    def run(self, statement: str) -> None:
        """Run one statement outside of a transaction."""
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def stop(self) -> None:
        """Stop the server and remove its files."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: str) -> None:
        done = subprocess.run([*self._as, *command], capture_output=True, text=True, cwd=self.folder, check=False)
        assert done.returncode == 0, done.stderr

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.run("SELECT 1")
            except sa.exc.DBAPIError:
                assert self.process.poll() is None, "PostgreSQL ended while starting"
                assert time.monotonic() < deadline, "PostgreSQL did not start within 30 s"
                time.sleep(0.1)
            else:
                return


def start() -> Postgres:
    """Start a server in a folder of its own (short, because its socket's path is limited)."""
    return Postgres(Path(tempfile.mkdtemp(prefix="jxpg-")))
