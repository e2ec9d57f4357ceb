"""The servers that are compared, each with what it needs to judge in earnest."""

import contextlib
import json
import pathlib
import socket
import subprocess

from control_plane import answers, child, free_port, make_certificate, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent
POD_SECURITY = {
    "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
    "defaults": {"enforce": "restricted", "enforce-version": "latest", "audit": "privileged", "audit-version": "latest",
                 "warn": "privileged", "warn-version": "latest"},
    "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": []}}
OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: palisade-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: team-a}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: fix-login-deny-all, namespace: team-a}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""
WORKSPACE = """
apiVersion: palisade.dev/v1alpha1
kind: AgentWorkspace
metadata: {name: fix-login, namespace: team-a}
spec:
  repository:
    url: https://git.example.com/team-a/app.git
    credentials: {secretRef: {name: git}}
  task: {message: Fix the login.}
"""


class Cluster:
    """The API server that the webhooks watch, and kubectl for it."""

    def __init__(self, tools: pathlib.Path, kubeconfig: pathlib.Path):
        self.tools, self.kubeconfig = tools, kubeconfig

    def kubectl(self, *arguments: str, text: str = "") -> str:
        run = subprocess.run([self.tools / "kubectl", "--kubeconfig", self.kubeconfig, *arguments], input=text, text=True,
                             capture_output=True)
        if run.returncode:
            raise SystemExit(f"kubectl {' '.join(arguments)}: {run.stderr}")
        return run.stdout

    def prepare(self) -> str:
        """Everything that the agent's pod is judged by. The uid of its workspace."""
        self.kubectl("apply", "-f", str(ROOT / "crds"))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        self.kubectl("apply", "-f", "-", text=OBJECTS)
        self.kubectl("apply", "-f", "-", text=WORKSPACE)
        return self.kubectl("get", "agentworkspace", "-n", "team-a", "fix-login", "-o", "jsonpath={.metadata.uid}")

    def register(self, port: int) -> None:
        """The chart's own webhook configurations, with the webhook's address in place of its Service."""
        rendered = subprocess.run([self.tools / "helm", "template", "palisade", ROOT / "charts/palisade", "--namespace", "palisade-system",
                                   "--show-only", "templates/admission.yaml"], check=True, text=True, capture_output=True).stdout
        parsed = self.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", text=rendered)
        decoder, at, objects = json.JSONDecoder(), 0, []
        while at < len(parsed.rstrip()):
            one, end = decoder.raw_decode(parsed, at)
            at = end + len(parsed[end:]) - len(parsed[end:].lstrip())
            objects += one["items"] if one["kind"] == "List" else [one]
        for one in objects:
            for webhook in one.get("webhooks", []):
                path = webhook["clientConfig"].pop("service")["path"]
                webhook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{path}"
                webhook["timeoutSeconds"] = 5
        self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def trusted(self) -> bool:
        """Whether every registered webhook has its authority: the keeper writes it within its interval."""
        bundles = self.kubectl("get", "validatingwebhookconfiguration,mutatingwebhookconfiguration", "-o",
                               'jsonpath={range .items[*].webhooks[*]}{.clientConfig.caBundle}{"\\n"}{end}').split("\n")
        return bool(bundles[:-1]) and all(bundles[:-1])

    def unregister(self) -> None:
        for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
            self.kubectl("delete", "--ignore-not-found", kind, "palisade-webhook")


@contextlib.contextmanager
def palisade(program: pathlib.Path, cluster: Cluster, directory: pathlib.Path, port: int):
    metrics, log = free_port(), directory / "palisade.log"
    with child([str(program), "--kubeconfig", str(cluster.kubeconfig), "--address", "127.0.0.1", "--port", str(port),
                "--namespace", "palisade-system", "--extra-san", "127.0.0.1", "--mutating-webhook-configuration", "palisade-webhook",
                "--metrics-address", "127.0.0.1", "--metrics-port", str(metrics)], log) as process:
        ready = f"http://127.0.0.1:{metrics}/readyz"
        wait_until("palisade-webhook", lambda: answers(ready), 60, process, log)
        yield f"https://127.0.0.1:{port}/validate", process.pid, lambda: wait_until("the caBundle", cluster.trusted, 60, process, log)


@contextlib.contextmanager
def upstream(program: pathlib.Path, kubeconfig: pathlib.Path, directory: pathlib.Path):
    port, log = free_port(), directory / "upstream.log"
    certificate, key = make_certificate(directory, "upstream")
    (directory / "pod-security.json").write_text(json.dumps(POD_SECURITY))
    with child([str(program), "--kubeconfig", str(kubeconfig), "--config", str(directory / "pod-security.json"),
                "--bind-address", "127.0.0.1", "--secure-port", str(port), "--tls-cert-file", str(certificate),
                "--tls-private-key-file", str(key)], log) as process:
        wait_until("the PodSecurity webhook", lambda: answers(f"https://127.0.0.1:{port}/readyz"), 60, process, log)
        yield f"https://127.0.0.1:{port}/", process.pid


@contextlib.contextmanager
def echo(directory: pathlib.Path):
    """A bare Go server; see echo/main.go."""
    program, port, log = directory / "echo", free_port(), directory / "echo.log"
    subprocess.run(["go", "build", "-trimpath", "-buildvcs=false", "-o", program, "."], cwd=ROOT / "bench/echo", check=True)
    certificate, key = make_certificate(directory, "echo")
    with child([str(program), "-address", f"127.0.0.1:{port}", "-certificate", str(certificate), "-key", str(key)], log) as process:
        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until("the echo server", listens, 30, process, log)
        yield f"https://127.0.0.1:{port}/", process.pid
