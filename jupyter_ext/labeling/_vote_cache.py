"""Votes that were cast before, so that only changed functions and new rows are run."""

from __future__ import annotations

import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jupyter_ext.labeling._running import Outcome
from jupyter_ext.labeling.functions import LabelingFunction
from jupyter_ext.labeling.votes import ABSTAIN, IntArray

Hashes = npt.NDArray[np.uint64]


class VoteCache:
    """A folder with a file a function, named by its digest: hashes of rows, and its votes on them.

    A row counts by the values of the columns that the function declares, or of all columns. Rows on which a function
    failed are not kept, so that they are tried again.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._hashes: dict[tuple[str, ...], Hashes] = {}

    def known(self, lf: LabelingFunction, frame: pd.DataFrame) -> tuple[IntArray, IntArray]:
        """Return the row numbers whose votes are kept, and those votes (-1: it abstained)."""
        hashes, votes = self._read(lf)
        wanted = self._of(lf, frame)
        if not len(hashes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        place = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        rows = np.flatnonzero(hashes[place] == wanted)
        return rows, votes[place[rows]].astype(np.int64)

    def keep(self, lf: LabelingFunction, frame: pd.DataFrame, rows: IntArray, outcome: Outcome) -> None:
        """Add what came of running ``lf`` on some rows."""
        wanted = self._of(lf, frame)
        hashes, votes = self._read(lf)
        said = np.full(len(frame), ABSTAIN, dtype=np.int16)
        said[outcome.rows] = outcome.classes
        fine = np.setdiff1d(rows, outcome.failed)
        hashes, first = np.unique(np.concatenate([hashes, wanted[fine]]), return_index=True)
        votes = np.concatenate([votes, said[fine]])[first]
        self.folder.mkdir(parents=True, exist_ok=True)
        # Two notebooks may write at once: each file is whole at any time.
        temporary = self.folder / f".{uuid.uuid4().hex}.npz"
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, hashes=hashes, votes=votes)
        temporary.replace(self._file(lf))

    def _file(self, lf: LabelingFunction) -> Path:
        return self.folder / f"{lf.digest}.npz"

    def _read(self, lf: LabelingFunction) -> tuple[Hashes, IntArray]:
        try:
            with np.load(self._file(lf)) as stored:
                return stored["hashes"], stored["votes"]
        except FileNotFoundError:
            return np.zeros(0, np.uint64), np.zeros(0, np.int16)

    def _of(self, lf: LabelingFunction, frame: pd.DataFrame) -> Hashes:
        columns = tuple(frame.columns if lf.columns is None else sorted(set(lf.columns)))
        if columns not in self._hashes:
            self._hashes[columns] = _row_hashes(frame[list(columns)])
        return self._hashes[columns]


def _row_hashes(frame: pd.DataFrame) -> Hashes:
    try:
        return np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64)
    except TypeError:  # lists, arrays and other cells without a hash
        plain = frame.map(_as_bytes)
        return np.asarray(pd.util.hash_pandas_object(plain, index=False), dtype=np.uint64)


def _as_bytes(value: Any) -> bytes:
    return pickle.dumps(value, protocol=5)
