"""The pods that are judged, and the reviews that ask about them."""

import copy
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATOR = "system:serviceaccount:palisade-system:palisade-operator"


def aider_pod(owner_uid: str) -> dict:
    """The tests' good pod without its checkout step and its DNS fields: with the envelope, a review of 3.6 kB."""
    pod = json.loads((ROOT / "tests/fixtures/good_pod.json").read_text())
    pod["spec"]["initContainers"] = [c for c in pod["spec"]["initContainers"] if c["name"] != "checkout"]
    for field in ("hostAliases", "dnsPolicy", "dnsConfig"):
        del pod["spec"][field]
    pod["metadata"]["ownerReferences"][0]["uid"] = owner_uid
    return pod


def large_pod(owner_uid: str, containers: int = 30, size: int = 100_000) -> dict:
    """The same with as many containers, filled up with environment variables until its JSON has that size."""
    pod = aider_pod(owner_uid)
    model = pod["spec"]["containers"][0]
    model["resources"]["requests"] = model["resources"]["limits"] = {"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "16Mi"}
    rest = [copy.deepcopy(model) for _ in range(containers - len(pod["spec"]["containers"]) - len(pod["spec"]["initContainers"]))]
    pod["spec"]["containers"] += rest
    for i, container in enumerate(rest):
        container["name"] = f"helper-{i}"
    missing = size - len(json.dumps(pod, separators=(",", ":")))
    each = 40 + len("SETTING_000_000")
    for n in range(missing // (each + 24)):
        container = rest[n % len(rest)]
        container.setdefault("env", []).append({"name": f"SETTING_{n % len(rest):03}_{n:03}", "value": "x" * 40})
    return pod


def plain_pod() -> dict:
    """Nobody's agent: what most pods of a shared cluster are to the webhook."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-", "namespace": "team-a", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "registry.example.com/web:1", "ports": [{"containerPort": 8080}],
                                     "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}


def review(pod: dict) -> bytes:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return json.dumps({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource,
                    "requestKind": kind, "requestResource": resource, "name": pod["metadata"]["name"], "namespace": "team-a",
                    "operation": "CREATE", "userInfo": {"username": OPERATOR},
                    "object": pod, "oldObject": None, "dryRun": False,
                    "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}}},
        separators=(",", ":")).encode()


def privileged(pod: dict) -> dict:
    pod = copy.deepcopy(pod)
    pod["spec"]["containers"][0]["securityContext"]["privileged"] = True
    return pod
