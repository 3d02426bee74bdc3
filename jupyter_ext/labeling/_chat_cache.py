"""Answers of language models on disk, so that nothing is paid for twice."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from jupyter_ext.errors import Invalid
from jupyter_ext.labeling._chat import Answer, Stop


def cache_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jupyter-ext" / "prompts"


class Cache:
    """Answers by the SHA-256 of their requests, in a SQLite file that several processes may use at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "answers.db"
        self._lock = threading.Lock()
        try:
            # Answers may tell of the data, so the folder is for its owner alone.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers"
                " (key TEXT PRIMARY KEY, text TEXT NOT NULL, input_tokens INTEGER NOT NULL,"
                " output_tokens INTEGER NOT NULL, answered_at REAL NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            self._database.close()
            self._fail(error)

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """Return the answers that are there."""
        question = "SELECT text, input_tokens, output_tokens FROM answers WHERE key = ?"
        found = {}
        with self._lock:
            try:
                for key in keys:
                    row = self._database.execute(question, (key,)).fetchone()
                    if row is not None:
                        found[key] = Answer(*row)
            except sqlite3.Error as error:
                self._fail(error)
        return found

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer. It is on disk when this returns."""
        row = (key, answer.text, answer.input_tokens, answer.output_tokens, time.time())
        with self._lock:
            try:
                self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            except sqlite3.Error as error:
                try:
                    self._fail(error)
                except Invalid as told:
                    # Without the cache the next run would pay for everything again.
                    raise Stop(told) from None

    def close(self) -> None:
        self._database.close()

    def _fail(self, error: Exception) -> NoReturn:
        raise Invalid(
            f"The cache of answers {str(self._path)!r} can't be used: {error}. Pass another folder as cache, or remove "
            "the file if it is broken."
        ) from None
