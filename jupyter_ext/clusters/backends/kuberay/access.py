"""How an API server is reached: from inside of the cluster, or as a kubeconfig says."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_ext.errors import Invalid

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: The kubelet writes a new token well before the old one ends.
_TOKEN_SECONDS = 60.0


@dataclass
class Access:
    """Where the API server is, and what lets one in. Neither shows in its representation.

    Parameters
    ----------
    server
        Its URL.
    namespace
        The namespace that is meant where none is named.
    token_file, token
        A bearer token: in a file that is read again every minute, or as it is.
    make_context
        Makes the TLS context; None for plain HTTP, and for a server that any public authority vouches for.
    """

    server: str
    namespace: str = "default"
    token_file: Path | None = None
    token: str = field(default="", repr=False)
    make_context: Callable[[], ssl.SSLContext] | None = field(default=None, repr=False)
    _read_at: float = field(default=float("-inf"), repr=False)

    def headers(self, *, again: bool = False) -> dict[str, str]:
        """Return the header that lets one in; ``again`` reads the token's file in any case."""
        if self.token_file is not None and (again or time.monotonic() - self._read_at > _TOKEN_SECONDS):
            self.token = self.token_file.read_text().strip()
            self._read_at = time.monotonic()
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def find_access(kubeconfig: str = "", context: str = "") -> Access:
    """Return the access that is configured: the kubeconfig that is named, or the cluster around, or the usual file.

    Raises
    ------
    jupyter_ext.errors.Invalid
        There is none, or it asks for what is not offered here.
    """
    if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ and (_IN_CLUSTER / "token").exists():
        return in_cluster(_IN_CLUSTER)
    path = Path(kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    if not path.is_file():
        raise Invalid(
            "There is no way to a Kubernetes API server: this process runs in no pod with a service account, "
            f"and there is no kubeconfig {path}. Set c.KubeRayBackend.kubeconfig."
        )
    return from_kubeconfig(path, context)


def in_cluster(folder: Path) -> Access:
    """Return the access that Kubernetes gives a pod with a service account."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=(folder / "namespace").read_text().strip(),
        token_file=folder / "token",
        make_context=lambda: ssl.create_default_context(cafile=str(folder / "ca.crt")),
    )


def from_kubeconfig(path: Path, context: str = "") -> Access:
    """Return the access of a context of a kubeconfig: the one it names as current, if none is given."""
    import yaml

    try:
        config = yaml.safe_load(path.read_text())
        name = context or config["current-context"]
        chosen = _named(config, "context", name)
        cluster = _named(config, "cluster", chosen["cluster"])
        user = _named(config, "user", chosen["user"])
        server = str(cluster["server"])
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise Invalid(f"The kubeconfig {path} is not complete: {type(error).__name__} {error}") from error
    for part, unknown in ((user, ("exec", "auth-provider", "username")), (cluster, ("proxy-url", "tls-server-name"))):
        if found := next((key for key in unknown if part.get(key)), None):
            raise Invalid(
                f"The kubeconfig {path} uses {found!r}, which is not offered here. Give it a token or a client "
                "certificate (`kubectl create token` makes one), or run the server inside of the cluster."
            )
    token_file = user.get("tokenFile")
    return Access(
        server=server,
        namespace=str(chosen.get("namespace") or "default"),
        token_file=path.parent / token_file if token_file else None,
        token=str(user.get("token") or ""),
        make_context=(lambda: _context(path.parent, cluster, user)) if server.startswith("https:") else None,
    )


def _named(config: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    for item in config[f"{kind}s"]:
        if item["name"] == name:
            return dict(item[kind])
    raise KeyError(f"no {kind} {name!r}")


def _context(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    authority = _data(folder, cluster, "certificate-authority")
    made = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    certificate, key = _data(folder, user, "client-certificate"), _data(folder, user, "client-key")
    if certificate and key:
        # Python reads client certificates from files only. This one is ours alone, and goes at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            made.load_cert_chain(file.name)
    return made


def _data(folder: Path, part: dict[str, Any], name: str) -> bytes:
    if part.get(f"{name}-data"):
        return base64.b64decode(part[f"{name}-data"])
    return (folder / part[name]).read_bytes() if part.get(name) else b""
