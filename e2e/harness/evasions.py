"""Ways round the guard, as data: what is asked of the API server, by whom, what the refusal must say, and the same thing as
somebody asks it who means no harm, which must pass.

Every attempt is made by a tenant whom RBAC lets do anything, so that what refuses is the guard and nothing else. The scene
that attempts are made in stands in scene(): it needs the operator and the webhook, and no kubelet.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from e2e.harness.pods import good_pod, plain_pod

Object = dict[str, Any]

SPACE = "story-evasion"  # its network is closed by a deny-all policy
OPEN = "story-evasion-open"  # nothing closes its network
BOUNDED = "story-evasion-bounded"  # closed, and an AgentPolicy allows one RuntimeClass
WORKSPACE = "live"  # an AgentWorkspace whose pod lives
AGENT = f"{WORKSPACE}-agent"  # what the operator calls that pod, and what goes with it
BY_HAND = "by-hand"  # a compliant agent pod that nobody's operator made
NEIGHBOUR = "neighbour"  # anybody's pod
CLOSED = "deny-all"  # the NetworkPolicy that closes SPACE
TENANT = "tenant@example.com"
NOWHERE = "story-evasion-nowhere"
NO_NODE = "nobody"  # a scheduler that does not exist: these pods never start

CORE = f"/api/v1/namespaces/{SPACE}"
APPS = f"/apis/apps/v1/namespaces/{SPACE}"
BATCH = f"/apis/batch/v1/namespaces/{SPACE}"
NETWORK = f"/apis/networking.k8s.io/v1/namespaces/{SPACE}/networkpolicies"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PALISADE = "/apis/palisade.dev/v1alpha1"
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Request:
    """One call of the API. Dry runs all, but where `connect`: those have none, and reach no kubelet."""

    method: str
    path: str
    body: Any = None
    content_type: str = JSON
    query: tuple[tuple[str, str], ...] = ()
    user: str | None = TENANT  # impersonated; None: the cluster's administrator
    connect: bool = False

    def by_administrator(self) -> Request:
        return replace(self, user=None)


BY_WEBHOOK = '.palisade.dev" denied the request'
BY_POLICY = "ValidatingAdmissionPolicy 'palisade-self-guard'"  # no webhook is asked about webhook configurations


@dataclass(frozen=True)
class Attempt:
    name: str
    request: Request
    words: tuple[str, ...]  # each in the refusal: the control, the field
    twin: Request
    guard: str = BY_WEBHOOK


def create(path: str, body: Object) -> Request:
    return Request("POST", path, body)


def patch(path: str, body: Any, content_type: str = MERGE) -> Request:
    query = (("fieldManager", "tenant"), ("force", "true")) if content_type == APPLY else ()
    return Request("PATCH", path, body, content_type, query)


def delete(path: str, **selector: str) -> Request:
    return Request("DELETE", path, query=tuple(selector.items()))


def connect(method: str, path: str, **query: str) -> Request:
    return Request(method, path, query=tuple(query.items()), connect=True)


Change = Callable[[Object], None]


def agent(*changes: Change, name: str = "evasion") -> Object:
    """The good pod with these changes, as somebody makes it by hand: it claims no workspace."""
    pod = good_pod(name, SPACE)
    pod["metadata"]["labels"] = {"palisade.dev/agent": "aider"}
    for change in changes:
        change(pod)
    return pod


def plain(*changes: Change, name: str = "twin") -> Object:
    """Anybody's pod with these changes."""
    pod = plain_pod(name, SPACE)
    for change in changes:
        change(pod)
    return pod


def spec(path: str, value: Any) -> Change:
    """Sets a dotted path below the pod's spec; `c` is its first container."""

    def change(pod: Object) -> None:
        node: Any = pod["spec"]
        keys = path.split(".")
        if keys[0] == "c":
            node, keys = node["containers"][0], keys[1:]
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        if value is None:
            node.pop(keys[-1], None)
        else:
            node[keys[-1]] = copy.deepcopy(value)

    return change


def added(path: str, *items: Any) -> Change:
    """Appends to a list of the pod's spec; `c` is its first container."""

    def change(pod: Object) -> None:
        keys = path.split(".")
        node = pod["spec"]["containers"][0] if keys[0] == "c" else pod["spec"]
        node.setdefault(keys[-1], []).extend(copy.deepcopy(items))

    return change


def scene() -> list[Object]:
    """What attempts are made on, in the order of its making, by the cluster's administrator."""
    grant = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "story-evasion-tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": TENANT}],
    }
    # A class of nodes that there are none of: the workspace's pod is there and never starts.
    nowhere = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": NOWHERE},
        "handler": "runc",
        "scheduling": {"nodeSelector": {NOWHERE: "true"}},
    }
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (SPACE, OPEN, BOUNDED)]
    bound = {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": BOUNDED},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": BOUNDED}}, "allowedRuntimeClasses": [NOWHERE]},
    }
    bounded = network_policy(CLOSED, {}, types=("Ingress", "Egress"))
    bounded["metadata"]["namespace"] = BOUNDED
    closed = network_policy(CLOSED, {}, types=("Ingress", "Egress"))
    for_web = network_policy("for-web", {"matchLabels": {"app": "web"}}, egress=[{}], types=("Egress",))
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git-token", "namespace": SPACE}, "stringData": {"token": "t"}}
    others: list[Object] = [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": "others", "namespace": SPACE}, **body}
        for kind, body in (
            ("Secret", {"stringData": {"a": "b"}}),
            ("ConfigMap", {"data": {"a": "b"}}),
            ("ServiceAccount", {}),
            ("PersistentVolumeClaim", {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": ""}}),
        )
    ]
    pods = [agent(spec("schedulerName", NO_NODE), name=BY_HAND), plain(spec("schedulerName", NO_NODE), name=NEIGHBOUR)]
    live = workspace(WORKSPACE)
    live["spec"]["isolation"] = {"runtimeClassName": NOWHERE}
    live["spec"]["storage"] = {"size": "1Mi", "storageClassName": ""}
    return [grant, nowhere, bound, *spaces, bounded, closed, for_web, token, *others, live, *pods]


def workspace(name: str, **metadata: Any) -> Object:
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentWorkspace",
        "metadata": {"name": name, "namespace": SPACE, **metadata},
        "spec": {
            "agent": {"model": "gpt-4o"},
            "repository": {
                "url": "https://192.0.2.10/team/app.git",
                "ref": "main",
                # So that there is a Secret of its own beside it.
                "via": "Direct",
                "credentials": {"secretRef": {"name": "git-token", "key": "token"}},
            },
        },
    }


def network_policy(
    name: str,
    pods: Object,
    *,
    egress: list[Object] | None = None,
    ingress: list[Object] | None = None,
    types: tuple[str, ...] = (),
    labels: dict[str, str] | None = None,
) -> Object:
    rules: Object = {"podSelector": pods}
    if egress is not None:
        rules["egress"] = egress
    if ingress is not None:
        rules["ingress"] = ingress
    if types:
        rules["policyTypes"] = list(types)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": SPACE, **({"labels": labels} if labels else {})},
        "spec": rules,
    }


def workloads(pod: Object) -> list[tuple[str, str, str, Object]]:
    """The pod as the template of each kind that makes pods: kind, path of the API, path of the template, object."""
    meta = {"name": "made", "namespace": SPACE}
    labels = {**pod["metadata"].get("labels", {}), "app": "made"}
    inside = {key: value for key, value in pod["spec"].items() if key not in ("activeDeadlineSeconds", "restartPolicy")}
    template = {"metadata": {"labels": labels}, "spec": {**inside, "restartPolicy": "Always"}}
    job = {"template": {"metadata": {"labels": labels}, "spec": {**pod["spec"], "restartPolicy": "Never"}}}
    replicas = {"selector": {"matchLabels": {"app": "made"}}, "template": template}
    controller = {"selector": {"app": "made"}, "template": template}
    return [
        ("PodTemplate", f"{CORE}/podtemplates", "template.", {"metadata": meta, "template": template}),
        ("ReplicationController", f"{CORE}/replicationcontrollers", "spec.template.", {"metadata": meta, "spec": controller}),
        ("Deployment", f"{APPS}/deployments", "spec.template.", {"metadata": meta, "spec": replicas}),
        ("ReplicaSet", f"{APPS}/replicasets", "spec.template.", {"metadata": meta, "spec": replicas}),
        ("DaemonSet", f"{APPS}/daemonsets", "spec.template.", {"metadata": meta, "spec": replicas}),
        ("StatefulSet", f"{APPS}/statefulsets", "spec.template.", {"metadata": meta, "spec": {**replicas, "serviceName": "made"}}),
        ("Job", f"{BATCH}/jobs", "spec.template.", {"metadata": meta, "spec": job}),
        (
            "CronJob",
            f"{BATCH}/cronjobs",
            "spec.jobTemplate.spec.template.",
            {"metadata": meta, "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}},
        ),
    ]


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
