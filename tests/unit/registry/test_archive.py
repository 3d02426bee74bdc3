"""Packing and unpacking model archives."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from jupyter_ext.errors import Invalid, TooLarge
from jupyter_ext.registry import archive

LIMIT = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "model"
    (source / "data").mkdir(parents=True)
    (source / "MLmodel").write_text("flavors: {}")
    (source / "data" / "model.pkl").write_bytes(bytes(range(256)) * 100)
    return source


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in entries:
            opened.writestr(name, content)
    return buffer


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    archive.unpack(io.BytesIO(archive.pack(folder)), tmp_path / "out", max_bytes=LIMIT)
    assert (tmp_path / "out" / "MLmodel").read_text() == "flavors: {}"
    assert (tmp_path / "out" / "data" / "model.pkl").read_bytes() == bytes(range(256)) * 100


def test_same_content_packs_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = archive.pack(folder)
    (folder / "MLmodel").touch()
    (folder / "MLmodel").chmod(0o600)
    with (tmp_path / "again.zip").open("w+b") as target:
        assert archive.pack(folder, target) == b""
    assert (tmp_path / "again.zip").read_bytes() == first


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:evil", "..", "./../evil"])
def test_an_entry_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="leads out"):
        archive.unpack(zipped((name, b"x")), tmp_path / "in" / "out", max_bytes=LIMIT)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(Invalid, match="link or a device"):
        archive.unpack(zipped((link, b"/etc/passwd")), tmp_path / "out", max_bytes=LIMIT)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    bomb = zipped(("MLmodel", b"flavors: {}"), ("zeros", bytes(50_000_000)))
    assert bomb.getbuffer().nbytes < 100_000
    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        archive.unpack(bomb, tmp_path / "out", max_bytes=LIMIT)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= LIMIT


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="3 files"):
        archive.unpack(zipped(*((f"f{i}", b"") for i in range(3))), tmp_path / "out", max_bytes=LIMIT, max_files=2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="two entries"):
        archive.unpack(zipped(("a", b"1"), ("./a", b"2")), tmp_path / "out", max_bytes=LIMIT)


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="both a file and a folder"):
        archive.unpack(zipped(("a", b"1"), ("a/b", b"2")), tmp_path / "out", max_bytes=LIMIT)


@pytest.mark.parametrize("damage", ["not a zip", "truncated", "flipped"])
def test_a_damaged_archive_is_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    data = bytearray(archive.pack(folder))
    if damage == "not a zip":
        data = bytearray(b"hello")
    elif damage == "truncated":
        data = data[: len(data) // 2]
    else:
        data[60:70] = bytes(10)
    with pytest.raises(Invalid, match="not a readable zip"):
        archive.unpack(io.BytesIO(bytes(data)), tmp_path / "out", max_bytes=LIMIT)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(("secret", b"x")).getvalue())
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    with pytest.raises(Invalid, match="encrypted"):
        archive.unpack(io.BytesIO(bytes(data)), tmp_path / "out", max_bytes=LIMIT)
