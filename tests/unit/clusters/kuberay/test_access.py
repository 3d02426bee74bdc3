"""The ways to an API server: a pod's service account, kubeconfigs; over TLS, with its authority and certificates."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jupyter_ext.clusters.backends.kuberay import access
from jupyter_ext.clusters.backends.kuberay.access import Access, find_access, from_kubeconfig, in_cluster
from jupyter_ext.clusters.backends.kuberay.api import Api
from jupyter_ext.errors import Forbidden, Invalid, Unavailable
from support.kube_api import KubeApi


@dataclass
class Certificate:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> Path:
        path = folder / name
        path.write_bytes(self.certificate + self.key)
        return path


def certify(name: str, by: tuple[Any, Any] | None = None) -> tuple[Certificate, tuple[Any, Any]]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = by or (subject, key)
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), True)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(made.public_bytes(pem), secret), (subject, key)


@dataclass
class Authority:
    """An authority, a server's certificate and a client's."""

    authority: Certificate
    server: Certificate
    client: Certificate


@pytest.fixture(scope="module")
def certificates() -> Authority:
    authority, signing = certify("authority")
    return Authority(authority, certify("server", signing)[0], certify("client", signing)[0])


@pytest.fixture
def kube(certificates: Authority, tmp_path: Path) -> Iterator[KubeApi]:
    """An API server with HTTPS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.write(tmp_path, "server.pem"))
    context.load_verify_locations(cadata=certificates.authority.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    running = KubeApi(tls=context).start()
    yield running
    running.stop()


def kubeconfig(path: Path, cluster: dict[str, Any], user: dict[str, Any], **context: Any) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [
                    {"name": "there", "context": {"cluster": "other", "user": "me"}},
                    {"name": "here", "context": {"cluster": "mine", "user": "me", **context}},
                ],
                "clusters": [
                    {"name": "mine", "cluster": cluster},
                    {"name": "other", "cluster": {"server": "http://other.example.org"}},
                ],
                "users": [{"name": "me", "user": user}],
            }
        )
    )
    return path


def works(found: Access) -> bool:
    api = Api(found, timeout=30)
    try:
        return api.list_all("Pod", "ray")[0] == []
    finally:
        api.close()


def inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_pod_uses_its_service_account(
    kube: KubeApi, certificates: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(kube.token + "\n")
    (tmp_path / "namespace").write_text("hub")
    (tmp_path / "ca.crt").write_bytes(certificates.authority.certificate)
    host, port = kube.url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(access, "_IN_CLUSTER", tmp_path)
    found = in_cluster(tmp_path)
    assert found.namespace == "hub"
    assert works(found)
    assert find_access().server == found.server
    assert kube.token not in repr(found)


def test_a_token_that_was_replaced_is_read_again(kube: KubeApi, certificates: Authority, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(kube.token)
    cluster = {"server": kube.url, "certificate-authority-data": inline(certificates.authority.certificate)}
    api = Api(from_kubeconfig(kubeconfig(tmp_path / "config", cluster, {"tokenFile": "token"})))
    assert api.list_all("Pod", "ray")[0] == []
    kube.token = "the-next-token"
    with pytest.raises(Forbidden):
        api.list_all("Pod", "ray")
    (tmp_path / "token").write_text("the-next-token")
    assert api.list_all("Pod", "ray")[0] == []
    (tmp_path / "token").unlink()
    kube.token = "another"
    with pytest.raises(Unavailable, match="can't be read"):
        api.list_all("Pod", "ray")
    api.close()


def test_a_kubeconfig_with_its_data_inside(kube: KubeApi, certificates: Authority, tmp_path: Path) -> None:
    cluster = {"server": kube.url, "certificate-authority-data": inline(certificates.authority.certificate)}
    path = kubeconfig(tmp_path / "config", cluster, {"token": kube.token}, namespace="ray")
    found = find_access(str(path))
    assert (found.namespace, found.server) == ("ray", kube.url)
    assert works(found)
    assert find_access(str(path), "there").server == "http://other.example.org"


def test_a_kubeconfig_with_files_and_a_client_certificate(
    kube: KubeApi, certificates: Authority, tmp_path: Path
) -> None:
    kube.token = ""
    assert kube.tls is not None
    kube.tls.verify_mode = ssl.CERT_REQUIRED
    (tmp_path / "ca.pem").write_bytes(certificates.authority.certificate)
    (tmp_path / "client.crt").write_bytes(certificates.client.certificate)
    cluster = {"server": kube.url, "certificate-authority": "ca.pem"}
    user = {"client-certificate": "client.crt", "client-key-data": inline(certificates.client.key)}
    assert works(from_kubeconfig(kubeconfig(tmp_path / "config", cluster, user)))
    with pytest.raises(Unavailable):
        works(from_kubeconfig(kubeconfig(tmp_path / "config", cluster, {"token": "x"})))


def test_a_server_that_nobody_vouches_for_is_not_believed(kube: KubeApi, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", {"server": kube.url}, {"token": kube.token})
    with pytest.raises(Unavailable, match="certificate"):
        works(from_kubeconfig(path))
    assert not any(asked.path for asked in kube.asked), "it was not even given the token"
    told = {"server": kube.url, "insecure-skip-tls-verify": True}
    assert works(from_kubeconfig(kubeconfig(tmp_path / "config", told, {"token": kube.token})))


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({"server": "https://a"}, {"exec": {"command": "aws"}}, "'exec', which is not offered here"),
        ({"server": "https://a"}, {"auth-provider": {"name": "gcp"}}, "'auth-provider'"),
        ({"server": "https://a", "proxy-url": "http://b"}, {}, "'proxy-url'"),
        ({}, {}, "is not complete: KeyError 'server'"),
    ],
)
def test_what_is_not_offered_is_told(cluster: dict[str, Any], user: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=said):
        from_kubeconfig(kubeconfig(tmp_path / "config", cluster, user))


def test_no_way_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Invalid, match=r"no way to a Kubernetes API server.*c\.KubeRayBackend\.kubeconfig"):
        find_access()
    with pytest.raises(Invalid, match="no context 'nowhere'"):
        from_kubeconfig(kubeconfig(tmp_path / "config", {"server": "http://a"}, {}), "nowhere")
