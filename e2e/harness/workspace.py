"""AgentWorkspaces as a user meets them: applied, watched, exec'd into, deleted."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from e2e.harness.shell import apply, eventually, kubectl, kubectl_json

TERMINAL = {"Succeeded", "Failed", "Expired"}


def manifest(name: str, namespace: str, url: str, *, message: str | None, files: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    """An AgentWorkspace on `url` whose git token is the Secret git-token of its namespace. `message` None: interactive.

    Entries of `spec` replace whole top-level fields of the spec.
    """
    body: dict[str, Any] = {
        "agent": {
            "model": "gpt-4o",
            "resources": {
                "requests": {"cpu": "100m", "memory": "256Mi"},
                "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "2Gi"},
            },
        },
        "repository": {"url": url, "ref": "main", "credentials": {"secretRef": {"name": "git-token", "key": "token"}}},
        "lifecycle": {"deadline": "10m", "ttlAfterFinished": "1h"},
    }
    if message is not None:
        body["task"] = {"message": message, "files": files or []}
    body.update(spec)
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentWorkspace",
        "metadata": {"name": name, "namespace": namespace},
        "spec": body,
    }


def create_namespace(name: str, token: str | None, labels: dict[str, str] | None = None) -> None:
    """An empty namespace, whatever an earlier run left in it; with `token` its Secret git-token."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
    kubectl("delete", "agentworkspaces,pods,secrets,resourcequotas", "--all", "-n", name, "--timeout=150s", timeout=180)
    if token is not None:
        apply(git_secret(name, token))


def git_secret(namespace: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "git-token", "namespace": namespace},
        "stringData": {"token": token},
    }


def key_secret(namespace: str, key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "virtual-key", "namespace": namespace},
        "stringData": {"api-key": key},
    }


def gateway_tokens(name: str, namespace: str) -> list[str]:
    """The Secrets of the gateway's namespace that hold this workspace's git token."""
    held = kubectl_json("get", "secrets", "-n", "palisade-gateway", "-l", "palisade.dev/git-token=true")["items"]
    return [one["metadata"]["name"] for one in held if one["metadata"]["annotations"]["palisade.dev/workspace"] == f"{namespace}/{name}"]


def gateway_logs(since: str = "1h") -> str:
    """What all replicas of the gateway have printed: the record."""
    selector = "app.kubernetes.io/component=gateway"
    return kubectl("logs", "-n", "palisade-gateway", "-l", selector, "--tail=-1", f"--since={since}", "--prefix=false", check=False).stdout


def gateway_record(name: str, namespace: str, kind: str) -> list[dict[str, Any]]:
    """The record's lines of that kind (llm, git) of a workspace, of all replicas in the order of time."""
    lines = [json.loads(line) for line in gateway_logs().splitlines() if line.startswith("{")]
    mine = [line for line in lines if line.get("kind") == kind and (line.get("namespace"), line.get("workspace")) == (namespace, name)]
    return sorted(mine, key=lambda line: line["time"])


def get(name: str, namespace: str) -> dict[str, Any]:
    return kubectl_json("get", "agentworkspace", name, "-n", namespace)


def phase(name: str, namespace: str) -> str:
    return get(name, namespace).get("status", {}).get("phase", "")


def condition(name: str, namespace: str, kind: str) -> dict[str, Any]:
    """The condition of that type, or {} where it is not set yet."""
    for entry in get(name, namespace).get("status", {}).get("conditions", []):
        if entry["type"] == kind:
            return entry
    return {}


def wait_phase(name: str, namespace: str, wanted: str, timeout: float = 180) -> dict[str, Any]:
    """Waits for a phase; another terminal phase ends the wait at once with what the workspace says of itself."""

    def probe() -> dict[str, Any] | None:
        workspace = get(name, namespace)
        now = workspace.get("status", {}).get("phase", "")
        if now == wanted:
            return workspace
        if now in TERMINAL:
            raise AssertionError(f"{namespace}/{name} is {now}, not {wanted}: {describe(name, namespace)}")
        return None

    try:
        return eventually(f"{namespace}/{name} to be {wanted}", probe, timeout=timeout)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{describe(name, namespace)}") from error


def wait_condition(name: str, namespace: str, kind: str, status: str, reason: str | None = None, timeout: float = 90) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        entry = condition(name, namespace, kind)
        return entry if entry.get("status") == status and reason in (None, entry.get("reason")) else None

    try:
        return eventually(f"{namespace}/{name} condition {kind}={status}", probe, timeout=timeout)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{describe(name, namespace)}") from error


def describe(name: str, namespace: str) -> str:
    """All that helps to see why a workspace is where it is."""
    pod = f"{name}-agent"
    parts = [
        kubectl("get", "agentworkspace", name, "-n", namespace, "-o", "jsonpath={.status}", check=False).stdout,
        kubectl("describe", "pod", pod, "-n", namespace, check=False).stdout,
    ]
    for container in ("relay", "courier", "checkout", "guard", "recorder", "aider"):
        logs = kubectl("logs", pod, "-n", namespace, "-c", container, "--tail=40", check=False)
        parts.append(f"--- {container}\n{logs.stdout}{logs.stderr}")
    operator = kubectl("logs", "-n", "palisade-system", "deployment/palisade-operator", "--tail=40", check=False)
    parts.append(f"--- gateway\n{gateway_logs('5m')[-4000:]}")
    return "\n".join([*parts, f"--- operator\n{operator.stdout}{operator.stderr}"])


def in_agent(name: str, namespace: str, script: str, timeout: float = 60, python: str = "python3") -> subprocess.CompletedProcess[str]:
    """Runs a Python program inside the agent's container, as the agent would; the exit code is the caller's to judge."""
    return kubectl("exec", f"{name}-agent", "-n", namespace, "-c", "aider", "--", python, "-c", script, check=False, timeout=timeout)


def delete(name: str, namespace: str) -> None:
    kubectl("delete", "agentworkspace", name, "-n", namespace, "--timeout=120s", "--ignore-not-found", timeout=150)
