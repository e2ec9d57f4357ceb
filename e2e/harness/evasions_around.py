"""Attempts around pods: their marks, their nodes, sessions in them, and everything that stands round a live workspace."""

from __future__ import annotations

from typing import Any

from e2e.harness.evasions import (
    AGENT,
    APPLY,
    BY_HAND,
    BY_POLICY,
    CLOSED,
    CORE,
    CRDS,
    JSON_PATCH,
    MERGE,
    NEIGHBOUR,
    NETWORK,
    PALISADE,
    RBAC,
    REGISTRATION,
    SPACE,
    STRATEGIC,
    WORKSPACE,
    Attempt,
    Object,
    Request,
    connect,
    create,
    delete,
    network_policy,
    patch,
    workspace,
)

PODS = f"{CORE}/pods"
LABEL = "palisade.dev~1agent"
AGENT_LABEL = {"matchLabels": {"palisade.dev/agent": "aider"}}
WEB = {"matchLabels": {"app": "web"}}


def _labels(**values: Any) -> Object:
    return {"metadata": {"labels": values}}


def _applied(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": SPACE, "labels": labels}}


def marks() -> list[Attempt]:
    """Labels, owners and annotations that say whose a pod is."""
    words = ("agent-identity", "palisade.dev/agent")
    team = {"metadata": {"labels": {"team": "a"}}}
    off = {"metadata": {"labels": {"palisade.dev/agent": None}}}
    other = {"metadata": {"labels": {"palisade.dev/agent": "none"}}}
    remove = [{"op": "remove", "path": f"/metadata/labels/{LABEL}"}]
    add = [{"op": "add", "path": "/metadata/labels/team", "value": "a"}]
    out = []
    for pod in (AGENT, BY_HAND):
        path = f"{PODS}/{pod}"
        out += [
            Attempt(f"the label taken off {pod} by a merge patch", patch(path, off), words, patch(path, team)),
            Attempt(f"the label taken off {pod} by a JSON patch", patch(path, remove, JSON_PATCH), words, patch(path, add, JSON_PATCH)),
            Attempt(f"the label of {pod} changed by a strategic patch", patch(path, other, STRATEGIC), words, patch(path, team, STRATEGIC)),
            Attempt(
                f"the label of {pod} changed by apply",
                patch(path, _applied(pod, {"palisade.dev/agent": "none"}), APPLY),
                words,
                patch(path, _applied(pod, {"team": "a"}), APPLY),
            ),
            Attempt(
                f"the label taken off {pod} through its status",
                patch(f"{path}/status", off),
                words,
                patch(f"{path}/status", {"status": {"message": "m"}}),
            ),
            Attempt(
                f"the label taken off {pod} through its status by a JSON patch",
                patch(f"{path}/status", remove, JSON_PATCH),
                words,
                patch(f"{path}/status", add, JSON_PATCH),
            ),
        ]
    mine, neighbour = f"{PODS}/{AGENT}", f"{PODS}/{NEIGHBOUR}"
    adopt = {"metadata": {"ownerReferences": [{"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "name": WORKSPACE, "uid": "0"}]}}
    out += [
        Attempt(
            "the owner taken off by a JSON patch",
            patch(mine, [{"op": "remove", "path": "/metadata/ownerReferences"}], JSON_PATCH),
            ("agent-identity", "metadata.ownerReferences"),
            patch(mine, add, JSON_PATCH),
        ),
        Attempt(
            "the workspace's label changed to another's",
            patch(mine, {"metadata": {"labels": {"palisade.dev/workspace": "other"}}}),
            ("agent-identity", "palisade.dev/workspace"),
            patch(mine, team),
        ),
        Attempt(
            "anybody's pod called a workspace's",
            patch(neighbour, {"metadata": {"labels": {"palisade.dev/workspace": WORKSPACE}}}),
            ("agent-identity",),
            patch(neighbour, team),
        ),
        Attempt("anybody's pod given to a workspace", patch(neighbour, adopt), ("agent-identity",), patch(neighbour, team)),
        Attempt(
            "the operator's record on the pod changed",
            patch(mine, {"metadata": {"annotations": {"palisade.dev/spec-hash": "0"}}}),
            ("agent-identity", "palisade.dev/spec-hash"),
            patch(mine, {"metadata": {"annotations": {"example.com/note": "0"}}}),
        ),
        # The label goes, and with it what the deny-all policy for it would have closed.
        Attempt(
            "a pod relabelled out of sight by its neighbours' label",
            patch(mine, {"metadata": {"labels": {"palisade.dev/agent": None, "app": "web"}}}),
            words,
            patch(neighbour, _labels(app="web")),
        ),
    ]
    return out


def _binding(name: str, node: str = "node-1", **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": SPACE, **metadata},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def bindings() -> list[Attempt]:
    mark = {"palisade.dev/workspace": WORKSPACE}
    out = []
    for kind, path in (("pods/binding", f"{PODS}/{{}}/binding"), ("a legacy binding", f"{CORE}/bindings")):
        plain = create(path.format(NEIGHBOUR), _binding(NEIGHBOUR))
        out += [
            Attempt(f"an agent put on a node by hand through {kind}", create(path.format(BY_HAND), _binding(BY_HAND)), ("scheduler-binding",), plain),
            Attempt(
                f"an agent's label rewritten through {kind}",
                create(path.format(BY_HAND), _binding(BY_HAND, labels={"palisade.dev/agent": "none"})),
                ("agent-identity",),
                plain,
            ),
            Attempt(f"a workspace's mark written through {kind}", create(path.format(NEIGHBOUR), _binding(NEIGHBOUR, labels=mark)), ("agent-identity",), plain),
            Attempt(f"an annotation written through {kind}", create(path.format(NEIGHBOUR), _binding(NEIGHBOUR, annotations=mark)), ("agent-identity",), plain),
        ]
    return out


def sessions() -> list[Attempt]:
    """Nobody enters an agent's pod whom the settings do not name, and the tenant is none of them."""
    out = []
    for pod in (AGENT, BY_HAND):
        for what, method, tail, query in (
            ("exec", "POST", "exec", {"command": "sh", "stdout": "true"}),
            ("exec by GET", "GET", "exec", {"command": "sh", "stdout": "true"}),
            ("attach", "POST", "attach", {"stdout": "true"}),
            ("portforward", "POST", "portforward", {}),
            ("proxy", "GET", "proxy/", {}),
            ("proxy by PUT", "PUT", "proxy/v1", {}),
        ):
            out.append(
                Attempt(
                    f"{what} into {pod}",
                    connect(method, f"{PODS}/{pod}/{tail}", **query),
                    ("session-access",),
                    connect(method, f"{PODS}/{NEIGHBOUR}/{tail}", **query),
                )
            )
    return out


def _to(*peers: Object, ports: list[Object] | None = None) -> list[Object]:
    rule: Object = {"to": list(peers)}
    if ports:
        rule["ports"] = ports
    return [rule]


def _block(cidr: str, *holes: str) -> Object:
    return {"ipBlock": {"cidr": cidr, **({"except": list(holes)} if holes else {})}}


_HTTPS = [{"protocol": "TCP", "port": 443}]
# Each opens an agent's network; for anybody else's pods it is allowed.
_WIDENINGS: list[tuple[str, Object]] = [
    ("the whole internet", {"egress": _to(_block("0.0.0.0/0"), ports=_HTTPS)}),
    ("the whole internet but some", {"egress": _to(_block("0.0.0.0/0", "10.0.0.0/8", "169.254.0.0/16"), ports=_HTTPS)}),
    ("the whole IPv6 internet", {"egress": _to(_block("::/0"), ports=_HTTPS)}),
    ("the whole IPv6 internet but some", {"egress": _to(_block("::/0", "fd00::/8"), ports=_HTTPS)}),
    ("the internet in two halves", {"egress": _to(_block("0.0.0.0/1"), _block("128.0.0.0/1"), ports=_HTTPS)}),
    ("an egress rule without to", {"egress": [{"ports": _HTTPS}]}),
    ("an empty egress rule", {"egress": [{}]}),
    ("an empty list of peers", {"egress": [{"to": []}]}),
    ("every namespace", {"egress": _to({"namespaceSelector": {}}, ports=_HTTPS)}),
    ("every pod here", {"egress": _to({"podSelector": {}})}),
    ("a range of ports", {"egress": _to(_block("198.51.100.7/32"), ports=[{"protocol": "TCP", "port": 1, "endPort": 65535}])}),
    ("any port of a peer", {"egress": _to(_block("198.51.100.7/32"))}),
    ("an empty ingress rule", {"ingress": [{}]}),
    ("ingress from a neighbour", {"ingress": [{"from": [{"podSelector": WEB}]}]}),
    ("ingress from anywhere", {"ingress": [{"from": [_block("0.0.0.0/0")]}]}),
]
_SELECTORS: list[tuple[str, Object]] = [
    ("an empty selector", {}),
    ("an expression that is true of agents", {"matchExpressions": [{"key": "palisade.dev/agent", "operator": "Exists"}]}),
    ("an expression that is false of others", {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
]


def network() -> list[Attempt]:
    words = ("deny-all-network",)
    out = []
    for name, rules in _WIDENINGS:
        twin = create(NETWORK, network_policy("twin", WEB, **rules))
        out.append(Attempt(f"a NetworkPolicy that opens {name}", create(NETWORK, network_policy("evasion", AGENT_LABEL, **rules)), words, twin))
    for name, selector in _SELECTORS:
        twin = create(NETWORK, network_policy("twin", WEB, egress=[{}]))
        out.append(Attempt(f"a NetworkPolicy by {name}", create(NETWORK, network_policy("evasion", selector, egress=[{}])), words, twin))
    web, closed, own = f"{NETWORK}/for-web", f"{NETWORK}/{CLOSED}", f"{NETWORK}/{AGENT}"
    open_all = [{"op": "add", "path": "/spec/egress", "value": [{}]}]
    narrow = {"spec": {"podSelector": {"matchLabels": {"app": "db"}, "matchExpressions": None}}}
    out += [
        Attempt("another policy's selector widened to agents", patch(web, {"spec": {"podSelector": {"matchLabels": None}}}), words, patch(web, narrow)),
        Attempt("the deny-all policy opened", patch(closed, open_all, JSON_PATCH), words, patch(web, open_all, JSON_PATCH)),
        Attempt("the deny-all policy narrowed to others", patch(closed, {"spec": {"podSelector": WEB}}), words, patch(web, narrow)),
        Attempt(
            "the deny-all policy's directions cut",
            patch(closed, {"spec": {"policyTypes": ["Ingress"]}}),
            words,
            patch(web, {"metadata": {"labels": {"team": "a"}}}),
        ),
        Attempt("the deny-all policy deleted", delete(closed), words, delete(web)),
        Attempt("all policies deleted without a name", delete(NETWORK), ("palisade",), delete(NETWORK, fieldSelector="metadata.name=for-web")),
        Attempt("the workspace's own policy opened", patch(own, open_all, JSON_PATCH), ("workspace-objects",), patch(web, open_all, JSON_PATCH)),
        Attempt("the workspace's own policy deleted", delete(own), ("workspace-objects",), delete(web)),
        Attempt(
            "a policy that claims to be the workspace's",
            create(NETWORK, network_policy("evasion", AGENT_LABEL, egress=[{}], labels={"palisade.dev/workspace": WORKSPACE})),
            ("workspace-objects",),
            create(NETWORK, network_policy("twin", WEB, egress=[{}], labels={"team": "a"})),
        ),
    ]
    return out


def owned_objects(git_secret: str) -> list[Attempt]:
    """The Secret, ConfigMap and ServiceAccount of a live workspace, and tokens for its account."""
    words = ("workspace-objects",)
    out = []
    for resource, own, body in (
        ("secrets", git_secret, {"data": {"token": "eA=="}}),
        ("configmaps", AGENT, {"data": {"courier.json": "{}"}}),
        ("serviceaccounts", AGENT, {"automountServiceAccountToken": True}),
    ):
        mine, others = f"{CORE}/{resource}/{own}", f"{CORE}/{resource}/others"
        disown = [{"op": "remove", "path": "/metadata/ownerReferences"}]
        label = [{"op": "add", "path": "/metadata/labels", "value": {"team": "a"}}]
        out += [
            Attempt(f"one of the workspace's {resource} changed", patch(mine, body), words, patch(others, body)),
            Attempt(f"one of the workspace's {resource} disowned", patch(mine, disown, JSON_PATCH), words, patch(others, label, JSON_PATCH)),
            Attempt(f"one of the workspace's {resource} deleted", delete(mine), words, delete(others)),
            Attempt(
                f"the {resource} deleted without a name",
                delete(f"{CORE}/{resource}"),
                words,
                delete(f"{CORE}/{resource}", fieldSelector="metadata.name=others"),
            ),
        ]
    ask = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [], "expirationSeconds": 3600}}
    of_account = "kubernetes.io/service-account.name"

    def token_secret(account: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "minted", "namespace": SPACE, "annotations": {of_account: account}},
            "type": "kubernetes.io/service-account-token",
        }

    claim = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "claim", "namespace": SPACE}, "data": {}}
    marked = {**claim, "metadata": {**claim["metadata"], "labels": {"palisade.dev/workspace": WORKSPACE}}}
    out += [
        Attempt(
            "a token for the agent's account",
            create(f"{CORE}/serviceaccounts/{AGENT}/token", ask),
            words,
            create(f"{CORE}/serviceaccounts/others/token", ask),
        ),
        Attempt(
            "a token Secret for the agent's account",
            create(f"{CORE}/secrets", token_secret(AGENT)),
            words,
            create(f"{CORE}/secrets", token_secret("others")),
        ),
        Attempt("a ConfigMap that claims to be the workspace's", create(f"{CORE}/configmaps", marked), words, create(f"{CORE}/configmaps", claim)),
    ]
    return out


def volumes(own: str) -> list[Attempt]:
    """The claim of a live workspace with spec.storage: deleted, resized, disowned, unmarked, forged. `others` is a claim of nobody's."""
    words = ("workspace-objects",)
    claims = f"{CORE}/persistentvolumeclaims"
    mine, others = f"{claims}/{own}", f"{claims}/others"
    unmark = {"metadata": {"labels": {"palisade.dev/workspace": None}, "annotations": {"palisade.dev/workspace-uid": None}}}
    label = {"metadata": {"labels": {"team": "a"}}}
    disown = {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"}]}}

    def claim(**metadata: Any) -> Object:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": ""}
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim", "namespace": SPACE, **metadata}, "spec": spec}

    return [
        Attempt("the workspace's volume deleted", delete(mine), words, delete(others)),
        Attempt("the claims deleted without a name", delete(claims), words, delete(claims, fieldSelector="metadata.name=others")),
        Attempt("the workspace's volume unmarked", patch(mine, unmark), words, patch(others, label)),
        Attempt("the workspace's volume unmarked by its status", patch(f"{mine}/status", unmark), words, patch(f"{others}/status", label)),
        Attempt("the workspace's volume given to another owner", patch(mine, disown), words, patch(others, disown)),
        Attempt("a volume that claims to be a workspace's", create(claims, claim(labels={"palisade.dev/workspace": WORKSPACE})), words, create(claims, claim())),
        Attempt(
            "a volume that bears a workspace's mark",
            create(claims, claim(annotations={"palisade.dev/workspace-uid": "0d9c1b52-0000-4000-8000-000000000001"})),
            words,
            create(claims, claim(annotations={"team": "a"})),
        ),
    ]


def rights() -> list[Attempt]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    api = "rbac.authorization.k8s.io"

    def binding(kind: str, name: str, *subjects: Object) -> Object:
        return {"apiVersion": f"{api}/v1", "kind": kind, "metadata": {"name": name}, "roleRef": role, "subjects": list(subjects)}

    account = {"kind": "ServiceAccount", "name": AGENT, "namespace": SPACE}
    user = {"apiGroup": api, "kind": "User", "name": f"system:serviceaccount:{SPACE}:{AGENT}"}
    group = {"apiGroup": api, "kind": "Group", "name": f"system:serviceaccounts:{SPACE}"}
    other = {"kind": "ServiceAccount", "name": "others", "namespace": SPACE}
    out = []
    for kind, path in (("RoleBinding", f"{RBAC}/namespaces/{SPACE}/rolebindings"), ("ClusterRoleBinding", f"{RBAC}/clusterrolebindings")):
        twin = create(path, binding(kind, "twin", other))
        for name, subject in (("its account", account), ("its user name", user), ("the group of its namespace", group)):
            out.append(Attempt(f"rights for the agent by a {kind} to {name}", create(path, binding(kind, "evasion", subject)), ("agent-rights",), twin))
        hidden = create(path, binding(kind, "evasion", other, other, account))
        out.append(Attempt(f"rights for the agent by a {kind} behind other subjects", hidden, ("agent-rights", "subjects[2]"), twin))
    everybody = f"{RBAC}/clusterrolebindings"
    for name in ("system:serviceaccounts", "system:authenticated"):
        crowd = binding("ClusterRoleBinding", "evasion", {"apiGroup": api, "kind": "Group", "name": name})
        some = binding("ClusterRoleBinding", "twin", {"apiGroup": api, "kind": "Group", "name": "team-a"})
        out.append(Attempt(f"rights for the agent by the group {name}", create(everybody, crowd), ("agent-rights",), create(everybody, some)))
    away = f"{RBAC}/namespaces/default/rolebindings"
    out.append(
        Attempt(
            "rights for the agent in another namespace",
            create(away, binding("RoleBinding", "evasion", account)),
            ("agent-rights",),
            create(away, binding("RoleBinding", "twin", other)),
        )
    )
    return out


def namespaces() -> list[Attempt]:
    path = f"/api/v1/namespaces/{SPACE}"
    words = ("namespace-labels",)
    team = patch(path, _labels(team="a"))

    def label(key: str, value: str | None) -> Request:
        return patch(path, {"metadata": {"labels": {key: value}}})

    def fresh(name: str, **labels: str) -> Request:
        return create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": "a", **labels}}})

    return [
        Attempt("a namespace that enforces nothing", label("palisade.dev/enforce", "off"), words, team),
        Attempt("a namespace that warns", label("palisade.dev/mode", "warn"), words, team),
        Attempt("a namespace that records", label("palisade.dev/mode", "audit"), words, team),
        Attempt(
            "a control that is only recorded",
            label("control.palisade.dev/not-privileged", "audit"),
            words,
            label("control.palisade.dev/not-privileged", "enforce"),
        ),
        Attempt(
            "a namespace loosened through its status",
            patch(f"{path}/status", {"metadata": {"labels": {"palisade.dev/enforce": "off"}}}),
            words,
            patch(f"{path}/status", {}),
        ),
        Attempt("a namespace born loose", fresh("evasion", **{"palisade.dev/enforce": "off"}), words, fresh("twin", **{"palisade.dev/enforce": "all"})),
        Attempt("a label that AgentPolicies select by", label("palisade.dev/tier", "trusted"), words, team),
    ]


def own_objects() -> list[Attempt]:
    """Palisade's configuration is its administrators'; the twin is the same by one of them."""
    policy = {"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": "evasion"}, "spec": {"maxLifetime": "4h"}}
    exception = {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "HardeningException",
        "metadata": {"name": "evasion"},
        "spec": {
            "namespaces": [SPACE],
            "controls": ["not-privileged"],
            "reason": "r",
            "ticket": "T-1",
            "approver": "me",
            "expires": "2099-01-01T00:00:00Z",
        },
    }
    loosen = {"spec": {"preserveUnknownFields": False}, "metadata": {"annotations": {"example.com/a": "b"}}}
    requests = [
        ("an AgentPolicy written by a tenant", create(f"{PALISADE}/agentpolicies", policy)),
        ("a HardeningException written by a tenant", create(f"{PALISADE}/hardeningexceptions", exception)),
        ("the schema of workspaces changed", patch(f"{CRDS}/agentworkspaces.palisade.dev", loosen)),
        ("the schema of exceptions deleted", delete(f"{CRDS}/hardeningexceptions.palisade.dev")),
    ]
    out = [Attempt(name, request, ("palisade-objects",), request.by_administrator()) for name, request in requests]
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        path = f"{REGISTRATION}/{kind}"
        ours = f"{path}/palisade-webhook"
        for name, request in (
            ("deleted", delete(ours)),
            ("deleted without a name", delete(path)),
            ("made to fail open", patch(ours, [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}], JSON_PATCH)),
            ("emptied", patch(ours, {"webhooks": []})),
            ("turned away", patch(ours, [{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchLabels": {"a": "b"}}}], JSON_PATCH)),
        ):
            twin = request.by_administrator()
            out.append(Attempt(f"Palisade's {kind} {name}", request, ("administrators",), twin, BY_POLICY))
    return out


def workspaces() -> list[Attempt]:
    path = f"{PALISADE}/namespaces/{SPACE}/agentworkspaces"
    mine = f"{path}/{WORKSPACE}"
    note = patch(mine, {"metadata": {"annotations": {"example.com/note": "a"}}})
    done = [{"op": "add", "path": "/status", "value": {"phase": "Succeeded"}}]
    huge, small = workspace("evasion"), workspace("twin")
    huge["spec"]["agent"]["resources"] = {"limits": {"cpu": "1000", "memory": "1Gi", "ephemeral-storage": "1Gi"}}
    small["spec"]["agent"]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}}
    return [
        Attempt("a workspace's status forged", patch(f"{mine}/status", {"status": {"phase": "Succeeded"}}), ("workspace-objects",), note),
        Attempt("a workspace's status forged by a JSON patch", patch(f"{mine}/status", done, JSON_PATCH), ("workspace-objects",), note),
        Attempt("a workspace beyond the bounds", create(path, huge), ("workspace-bounds", "spec.agent.resources.limits.cpu"), create(path, small)),
    ]


# Recorded by the webhook whatever is sent, so these are not refused: what is stored is looked at.
def forged_creators() -> list[tuple[str, Request]]:
    path = f"{PALISADE}/namespaces/{SPACE}/agentworkspaces"
    forged = {"palisade.dev/created-by": "somebody-else"}
    return [
        ("on creation", create(path, workspace("forged", annotations=forged))),
        ("by a merge patch", patch(f"{path}/{WORKSPACE}", {"metadata": {"annotations": forged}})),
        ("by removal", patch(f"{path}/{WORKSPACE}", {"metadata": {"annotations": {"palisade.dev/created-by": None}}}, MERGE)),
    ]
