from __future__ import annotations

import random
from pathlib import Path

import pytest

from jupyter_ext.errors import Unavailable
from jupyter_ext.jobs.logs import LogWriter, decode, read_bytes, stored_size
from jupyter_ext.jobs.protocol import LOG_CHUNK_BYTES
from jupyter_ext.store import Objects


def test_any_piece_of_several_attempts_reads_back(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    source = random.Random(3)
    logs = [source.randbytes(size) for size in (0, LOG_CHUNK_BYTES, 2 * LOG_CHUNK_BYTES + 77, 5)]
    for number, data in enumerate(logs, start=1):
        writer = LogWriter(objects, "job-1", number)
        position = 0
        while position < len(data):
            step = source.randint(1, 90_000)
            writer.append(data[position : position + step])
            position += step
            if source.random() < 0.3:
                writer.flush()
        writer.flush()
        assert writer.size == len(data) == stored_size(objects, "job-1", number)
    sizes = [len(data) for data in logs]
    whole = b"".join(logs)
    for offset, limit in [(0, 10), (0, len(whole)), (LOG_CHUNK_BYTES - 3, 6), (len(whole) - 4, 100), (len(whole), 5)]:
        assert read_bytes(objects, "job-1", sizes, offset, limit) == whole[offset : offset + limit]


def test_late_writes_of_a_former_attempt_move_no_offset(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    for number, data in ((1, b"first, and late"), (2, b"second")):
        writer = LogWriter(objects, "job-1", number)
        writer.append(data)
        writer.flush()
    assert read_bytes(objects, "job-1", [5, 6], 0, 100) == b"firstsecond"


def test_flush_that_fails_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(tmp_path)
    writer = LogWriter(objects, "job-1", 1)
    writer.append(b"a" * (LOG_CHUNK_BYTES + 10))
    put = objects.put
    failures = iter([True, False, True, False, False])

    def sometimes(path: str, data: bytes) -> None:
        if next(failures):
            raise Unavailable("the disk is away")
        put(path, data)

    monkeypatch.setattr(objects, "put", sometimes)
    for _ in range(2):
        with pytest.raises(Unavailable):
            writer.flush()
    writer.flush()
    assert read_bytes(objects, "job-1", [LOG_CHUNK_BYTES + 10], 0, 10**9) == b"a" * (LOG_CHUNK_BYTES + 10)


def test_a_character_is_never_cut() -> None:
    data = "añ€😀".encode()
    text, offset = "", 0
    while offset < len(data):
        piece, taken = decode(data[offset : offset + 4], last=offset + 4 >= len(data))
        assert taken
        text += piece
        offset += taken
    assert text == "añ€😀"
