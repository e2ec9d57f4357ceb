"""Aider pods that nobody's operator made: the minimal good one, and that one with one thing broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from e2e.harness.shell import ROOT


def good_pod(name: str, namespace: str) -> dict[str, Any]:
    """tests/fixtures/good_pod.json under another name: compliant with every control. Its ServiceAccount is the namespace's own."""
    pod = json.loads((ROOT / "tests" / "fixtures" / "good_pod.json").read_text())
    labels = {key: value for key, value in pod["metadata"]["labels"].items() if key != "palisade.dev/workspace"}  # nobody's but the operator's
    pod["metadata"] = {"name": name, "namespace": namespace, "labels": labels}
    del pod["spec"]["serviceAccountName"]
    return pod


def deny_all(namespace: str) -> dict[str, Any]:
    """The NetworkPolicy that an Aider pod made by hand needs: it selects every pod and allows nothing."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


Breakage = Callable[[dict[str, Any]], None]


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["spec"]["containers"][0]


def _set(path: str, value: Any) -> Breakage:
    """Sets a dotted path below the pod's spec or below its first container (`c.` first)."""

    def change(pod: dict[str, Any]) -> None:
        node: Any = pod["spec"]
        keys = path.split(".")
        if keys[0] == "c":
            node, keys = _container(pod), keys[1:]
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = value

    return change


def _host_path(pod: dict[str, Any]) -> None:
    pod["spec"].setdefault("volumes", []).append({"name": "host", "hostPath": {"path": "/"}})


def _host_network(pod: dict[str, Any]) -> None:
    pod["spec"]["hostNetwork"] = True
    del pod["spec"]["hostUsers"]  # the API server itself refuses the two together


def _no_memory_limit(pod: dict[str, Any]) -> None:
    del _container(pod)["resources"]["limits"]["memory"]


def _key_by_value(pod: dict[str, Any]) -> None:
    environment = [entry for entry in _container(pod).get("env", []) if entry["name"] != "OPENAI_API_KEY"]
    _container(pod)["env"] = [*environment, {"name": "OPENAI_API_KEY", "value": "sk-proj-0123456789abcdefghij"}]


def _secret_in_environment(pod: dict[str, Any]) -> None:
    entry = {"name": "GIT_TOKEN", "valueFrom": {"secretKeyRef": {"name": "git-token", "key": "token"}}}
    _container(pod).setdefault("env", []).append(entry)


# One thing broken in each: what is broken, the control that must say so, and the path it must name.
WEAKENED: list[tuple[str, str, str, Breakage]] = [
    ("runs as root", "non-zero-ids", "runAsUser", _set("c.securityContext.runAsUser", 0)),
    ("writable root filesystem", "read-only-root-filesystem", "readOnlyRootFilesystem", _set("c.securityContext.readOnlyRootFilesystem", False)),
    ("privilege escalation", "no-privilege-escalation", "allowPrivilegeEscalation", _set("c.securityContext.allowPrivilegeEscalation", True)),
    ("a capability added", "drop-all-capabilities", "capabilities", _set("c.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]})),
    ("seccomp off", "seccomp-profile", "seccompProfile", _set("c.securityContext.seccompProfile", {"type": "Unconfined"})),
    ("host network", "no-host-namespaces", "hostNetwork", _host_network),
    ("a host path", "volume-types", "volumes", _host_path),
    ("an API token", "no-service-account-token", "automountServiceAccountToken", _set("automountServiceAccountToken", True)),
    ("no memory limit", "resource-limits", "memory", _no_memory_limit),
    ("no deadline", "bounded-lifetime", "activeDeadlineSeconds", _set("activeDeadlineSeconds", None)),
    ("an LLM key by value", "no-llm-key-by-value", "env", _key_by_value),
    ("a Secret in the environment", "no-secret-in-env", "env", _secret_in_environment),
]


def weakened_pod(namespace: str, breakage: Breakage, name: str) -> dict[str, Any]:
    pod = copy.deepcopy(good_pod(name, namespace))
    breakage(pod)
    return pod


def plain_pod(name: str, namespace: str) -> dict[str, Any]:
    """What anybody else runs: no agent, no hardening. It must pass untouched."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "nginx"}},
        "spec": {"containers": [{"name": "nginx", "image": "nginx:1.29", "imagePullPolicy": "Never"}]},
    }
