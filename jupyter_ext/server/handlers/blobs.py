"""Blobs: the one door for everything big."""

from __future__ import annotations

from jupyter_ext.server.routing import Bytes, Call, route
from jupyter_ext.values import Digest, Value


class BlobStored(Value):
    """The acknowledgement of an upload."""

    digest: Digest
    size_bytes: int


@route("PUT", "/blobs/{digest}", resource="blobs", status=201)
def put_blob(call: Call, digest: str, body: bytes) -> BlobStored:
    """Upload a blob under its SHA-256.

    The content is checked against the digest. Uploading what is there already costs nothing and succeeds.
    """
    call.workspace.store.blobs.path(digest)
    return BlobStored(digest=call.workspace.store.blobs.put(body, expected=digest), size_bytes=len(body))


@route("GET", "/blobs/{digest}", resource="blobs")
def get_blob(call: Call, digest: str) -> Bytes:
    """Download a blob."""
    return Bytes(
        call.workspace.store.blobs.get(digest), headers={"Cache-Control": "private, max-age=31536000, immutable"}
    )


@route("HEAD", "/blobs/{digest}", resource="blobs")
def head_blob(call: Call, digest: str) -> None:
    """Ask whether a blob is there (200) or not (404)."""
    call.workspace.store.blobs.find(digest)
