"""A real etcd and kube-apiserver on loopback for the time of a benchmark, and child processes that always end."""

import base64
import contextlib
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import time
import urllib.request

import ssl


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what: str, ready, seconds: float, process: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        if process.poll() is not None:
            raise SystemExit(f"{what} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
    raise SystemExit(f"{what} is not ready after {seconds:.0f} s")


def answers(url: str, token: str = "") -> bool:
    """Whether `url` says 200. The servers' certificates were made a moment ago: who answers is not the question."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=2, context=ssl._create_unverified_context()) as reply:
            return reply.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def child(arguments: list[str], log: pathlib.Path, **variables: str):
    """A process that runs until the block ends; if it has ended before, the end of its log is the error."""
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**os.environ, **variables})
    try:
        yield process
        if process.poll() is not None:
            raise SystemExit(f"{arguments[0]} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_certificate(directory: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A self-signed ECDSA P-256 certificate for 127.0.0.1 and its key."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
                   check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def control_plane(tools: pathlib.Path, directory: pathlib.Path, *more: str, tokens: str = ""):
    """Yields the path of a cluster administrator's kubeconfig, the API server's address, the administrator's token, and the processes' ids.

    `more` are flags of the API server, `tokens` lines of its token file."""
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd, peer, server = (f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}", f"https://127.0.0.1:{port}")
    certificate, key = make_certificate(directory, "apiserver")
    token = secrets.token_hex(16)
    (directory / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n{tokens}")
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {
            "server": server, "certificate-authority-data": base64.b64encode(certificate.read_bytes()).decode()}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "admin"}}]}))
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(child(
            [str(tools / "etcd"), "--name=bench", f"--data-dir={directory / 'etcd'}", f"--listen-client-urls={etcd}",
             f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
             f"--initial-cluster=bench={peer}", "--log-level=warn"], directory / "etcd.log"))
        server_process = stack.enter_context(child(
            [str(tools / "kube-apiserver"), f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
             f"--secure-port={port}", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24",
             "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount", f"--token-auth-file={directory / 'tokens.csv'}",
             f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
             "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={certificate}",
             f"--service-account-signing-key-file={key}", *more], directory / "apiserver.log"))
        wait_until("kube-apiserver", lambda: answers(f"{server}/readyz", token), 90, server_process,
                   directory / "apiserver.log")
        yield kubeconfig, server, token, [store.pid, server_process.pid]
