"""Objects: confined, atomic, the same on a folder and on S3; a full disk writes nothing by halves."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_ext.errors import Invalid, NotFound, StorageFull, Unavailable
from jupyter_ext.store import Blobs, Objects


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, dict[str, Any]]]:
    """A real S3 server (moto) on a port of its own, and a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="bucket")
    yield (
        "s3://bucket/prefix",
        {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}},
    )
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return Objects(tmp_path / "objects with spaces")
    url, options = request.getfixturevalue("s3")
    return Objects(f"{url}/{tmp_path.name}", options)


def test_what_was_put_comes_back_and_is_listed(objects: Objects) -> None:
    objects.put("jobs/j-1/logs/2", b"two")
    objects.put("jobs/j-1/logs/1", b"one")
    objects.put("jobs/j-2/logs/1", b"other")
    assert objects.get("jobs/j-1/logs/2") == b"two"
    assert [(info.path, info.size) for info in objects.list("jobs/j-1")] == [
        ("jobs/j-1/logs/1", 3),
        ("jobs/j-1/logs/2", 3),
    ]
    assert objects.exists("jobs/j-1/logs/1")
    assert objects.size("jobs/j-1/logs/1") == 3
    with objects.open("jobs/j-1/logs/1") as stream:
        assert stream.read() == b"one"


def test_a_second_put_replaces(objects: Objects) -> None:
    objects.put("a", b"first")
    objects.put("a", b"second!")
    assert objects.get("a") == b"second!"


def test_another_process_reads_by_url(objects: Objects) -> None:
    objects.put("a/b", b"x")
    other = Objects(objects.root_url, objects.storage_options)
    assert other.get("a/b") == b"x"
    assert objects.url("a/b").endswith("a/b")


def test_what_another_process_wrote_is_seen_at_once(objects: Objects) -> None:
    assert objects.list("jobs") == []
    Objects(objects.root_url, objects.storage_options).put("jobs/x", b"1")
    assert [info.path for info in objects.list("jobs")] == ["jobs/x"]


def test_deleting_takes_a_folder_and_forgives_what_is_not_there(objects: Objects) -> None:
    objects.put("a/1", b"x")
    objects.put("a/b/2", b"x")
    objects.delete("a")
    objects.delete("a")
    assert objects.list("a") == []


def test_what_is_not_there_is_not_found(objects: Objects) -> None:
    with pytest.raises(NotFound, match="'nowhere/x'"):
        objects.get("nowhere/x")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a\\b", "a/\x00", "~/x", "a/b\n"]
)
def test_a_path_out_of_the_workspace_is_refused(tmp_path: Path, path: str) -> None:
    objects = Objects(tmp_path)
    for verb in (objects.get, objects.delete, objects.exists, objects.list):
        with pytest.raises(Invalid, match="not a path inside"):
            verb(path)
    with pytest.raises(Invalid):
        objects.put(path, b"x")


def test_a_blob_is_named_by_its_content_and_checked(objects: Objects) -> None:
    blobs = Blobs(objects)
    digest = blobs.put(b"hello")
    assert digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert blobs.put(b"hello", expected=digest) == digest
    assert blobs.get(digest) == b"hello"
    assert blobs.require(digest) == f"blobs/2c/{digest}"
    with pytest.raises(Invalid, match="damaged on the way"):
        blobs.put(b"hellO", expected=digest)
    with pytest.raises(Invalid, match="was not uploaded"):
        blobs.require("0" * 64)
    with pytest.raises(NotFound):
        blobs.get("0" * 64)
    with pytest.raises(Invalid, match="not a SHA-256"):
        blobs.get("../../etc/passwd")


def test_a_full_disk_keeps_the_old_object_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(tmp_path)
    objects.put("a", b"old")

    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StorageFull, match="Nothing was written"):
        objects.put("a", b"new")
    assert objects.get("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a small file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_writes_nothing_by_halves(small_disk: Path) -> None:
    objects = Objects(small_disk)
    objects.put("kept", b"x" * 1000)
    with pytest.raises(StorageFull):
        objects.put("big", b"x" * 1_000_000)
    assert [info.path for info in objects.list("kept")] == ["kept"]
    assert [path.name for path in small_disk.iterdir()] == ["kept"]
    objects.put("small", b"fits")


def test_a_store_that_is_away_is_told_so_and_has_not_lost_its_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    endpoint = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}
    options = {
        "key": "test",
        "secret": "test",
        "client_kwargs": endpoint,
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    objects = Objects("s3://bucket/away", options)
    for act in (lambda: objects.put("a", b"x"), lambda: objects.get("a"), lambda: objects.exists("a")):
        with pytest.raises(Unavailable, match="The object store failed on 'a'"):
            act()
    with pytest.raises(Unavailable):
        objects.list("a")
    with pytest.raises(Unavailable):
        objects.delete("a")


def test_several_may_delete_a_folder_at_the_same_time(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    for round_ in range(20):
        for number in range(30):
            objects.put(f"a/{number % 3}/{number}", b"x")
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(objects.delete, "a") for _ in range(4)]:
                done.result()
        assert objects.list("a") == [], round_
