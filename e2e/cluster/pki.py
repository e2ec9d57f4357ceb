"""Certificates of the local cluster, made with the openssl command: one authority, a pair of files for each part."""

from __future__ import annotations

import base64
import pathlib
import tempfile
from collections.abc import Sequence

from e2e.cluster import settings
from e2e.cluster.processes import run

DAYS = "30"


def _paths(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


def authority(folder: pathlib.Path, common_name: str) -> None:
    certificate, key = _paths(folder, "ca")
    if certificate.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS, "-subj", f"/CN={common_name}",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", str(key), "-out", str(certificate))  # fmt: skip


def issue(folder: pathlib.Path, name: str, subject: str, *, names: Sequence[str] = (), mode: int = 0o600) -> None:
    """A certificate for TLS server and client use; `names` are DNS:... and IP:... entries."""
    certificate, key = _paths(folder, name)
    if certificate.exists():
        return
    with tempfile.NamedTemporaryFile("w", suffix=".cnf") as extensions:
        extensions.write("keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n")
        if names:
            extensions.write("subjectAltName=" + ",".join(names) + "\n")
        extensions.flush()
        request = folder / f"{name}.csr"
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout", str(key), "-out", str(request))
        run("openssl", "x509", "-req", "-in", str(request), "-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca-key.pem"), "-CAcreateserial",
            "-days", DAYS, "-extfile", extensions.name, "-out", str(certificate))  # fmt: skip
        request.unlink()
    key.chmod(mode)


def kubeconfig(path: pathlib.Path, name: str) -> None:
    """A kubeconfig with everything inside, for the certificate NAME of the cluster's authority."""

    def data(file: pathlib.Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    certificate, key = _paths(settings.PKI, name)
    path.write_text(
        f"""apiVersion: v1
kind: Config
current-context: palisade
contexts: [{{name: palisade, context: {{cluster: palisade, user: {name}}}}}]
clusters:
- name: palisade
  cluster:
    server: https://{settings.NODE_IP}:{settings.API_PORT}
    certificate-authority-data: {data(settings.PKI / "ca.pem")}
users:
- name: {name}
  user:
    client-certificate-data: {data(certificate)}
    client-key-data: {data(key)}
"""
    )
    path.chmod(0o600)


def make_all() -> None:
    authority(settings.PKI, "palisade-e2e")
    api_names = [f"IP:{ip}" for ip in ("127.0.0.1", settings.NODE_IP, settings.API_SERVICE_IP)]
    api_names += [f"DNS:{name}" for name in ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")]
    issue(settings.PKI, "apiserver", "/CN=kube-apiserver", names=api_names)
    issue(settings.PKI, "apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet")
    issue(settings.PKI, "kubelet", f"/O=system:nodes/CN=system:node:{settings.NODE}", names=[f"IP:{settings.NODE_IP}", f"DNS:{settings.NODE}"])
    issue(settings.PKI, "admin", "/O=system:masters/CN=palisade-admin")
    for part in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        issue(settings.PKI, part, f"/CN=system:{part}")
    service_account = settings.PKI / "service-account-key.pem"
    if not service_account.exists():
        run("openssl", "genrsa", "-out", str(service_account), "2048")
        service_account.chmod(0o600)
    kubeconfig(settings.KUBECONFIG, "admin")
    for part in ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy"):
        kubeconfig(settings.STATE / f"{part}.kubeconfig", part)
