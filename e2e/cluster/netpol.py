"""Enforces NetworkPolicy objects on this node with nftables: a stand-in for a CNI that does, small and fail-closed.

render() is the whole meaning, pure; the rest lists, watches and applies. A pod address that is not known yet may send nothing and receive
nothing but what the node itself sends. Established connections go on. https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import logging
import ssl
import subprocess
import threading
import time
import urllib.parse
from typing import Any

TABLE = "palisade_netpol"
# A namespace with this label is as on a cluster whose network plugin enforces nothing: for stories that ask what happens there.
UNENFORCED = "e2e.palisade.dev/unenforced"
Object = dict[str, Any]


def matches(selector: Object | None, labels: dict[str, str]) -> bool:
    """metav1.LabelSelector; an empty selector matches everything. An operator that is not known matches nothing."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for requirement in selector.get("matchExpressions") or []:
        key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or []
        holds = {
            "In": key in labels and labels[key] in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(operator, False)
        if not holds:
            return False
    return True


def address(pod: Object) -> str | None:
    """The IPv4 address of a pod that has a network of its own and has not ended."""
    if pod["spec"].get("hostNetwork") or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return None
    ip = pod.get("status", {}).get("podIP", "")
    return ip if ip and ":" not in ip else None


def _labels(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("labels") or {}


def _peer_pods(peer: Object, policy_namespace: str, pods: list[Object], namespaces: dict[str, dict[str, str]]) -> list[Object]:
    chosen = []
    for pod in pods:
        namespace = pod["metadata"]["namespace"]
        if peer.get("namespaceSelector") is not None:
            if not matches(peer["namespaceSelector"], namespaces.get(namespace, {})):
                continue
        elif namespace != policy_namespace:
            continue
        if peer.get("podSelector") is None or matches(peer["podSelector"], _labels(pod)):
            chosen.append(pod)
    return chosen


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    containers = pod["spec"].get("containers", []) + [c for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"]
    for container in containers:
        for port in container.get("ports") or []:
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                return port["containerPort"]
    return None


def _port_matches(ports: list[Object] | None, target: Object | None) -> list[str]:
    """nft expressions, one a port; [""] where all ports are meant. `target` resolves named ports; without it they match nothing."""
    if not ports:
        return [""]
    out = []
    for port in ports:
        protocol = port.get("protocol", "TCP")
        if protocol not in ("TCP", "UDP", "SCTP"):
            continue
        number = port.get("port")
        if number is None:
            out.append(f"meta l4proto {protocol.lower()}")
            continue
        if isinstance(number, str):
            number = _named_port(target, number, protocol) if target else None
            if number is None:
                continue
        last = port.get("endPort")
        out.append(f"{protocol.lower()} dport {number}" + (f"-{last}" if last else ""))
    return out


def _rules(policy: Object, direction: str, pod: Object, pods: list[Object], namespaces: dict[str, dict[str, str]]) -> list[str]:
    """The allowed traffic of one pod in one direction by one policy, as nft match expressions ("" allows everything)."""
    side, field = ("daddr", "to") if direction == "egress" else ("saddr", "from")
    out = []
    for rule in policy["spec"].get(direction) or []:
        peers, ports = rule.get(field), rule.get("ports")
        own = None if direction == "egress" else pod
        if not peers:
            if direction == "egress" and any(isinstance(p.get("port"), str) for p in ports or []):
                for other in pods:
                    out += [f"ip {side} {address(other)} {m}" for m in _port_matches([p for p in ports if isinstance(p.get("port"), str)], other)]
                ports = [p for p in ports if not isinstance(p.get("port"), str)]
                if not ports:
                    continue
            out += _port_matches(ports, own)
            continue
        for peer in peers:
            if "ipBlock" in peer:
                block = peer["ipBlock"]
                if ":" in block["cidr"]:
                    continue
                excepted = [c for c in block.get("except") or [] if ":" not in c]
                match = f"ip {side} {ipaddress.ip_network(block['cidr'], strict=False)}"
                if excepted:
                    match += f" ip {side} != {{ {', '.join(excepted)} }}"
                out += [f"{match} {m}" for m in _port_matches(ports, own)]
                continue
            for other in _peer_pods(peer, policy["metadata"]["namespace"], pods, namespaces):
                target = other if direction == "egress" else pod
                out += [f"ip {side} {address(other)} {m}" for m in _port_matches(ports, target)]
    return out


def policy_types(policy: Object) -> list[str]:
    types = policy["spec"].get("policyTypes")
    if types:
        return types
    return ["Ingress", "Egress"] if policy["spec"].get("egress") else ["Ingress"]


def render(pods: list[Object], namespaces: list[Object], policies: list[Object], pod_range: str) -> str:
    """The nftables ruleset for these objects: a document for `nft -f -` that replaces the table in one transaction."""
    labels = {n["metadata"]["name"]: _labels(n) | {"kubernetes.io/metadata.name": n["metadata"]["name"]} for n in namespaces}
    live = [pod for pod in pods if address(pod)]
    policies = [p for p in policies if UNENFORCED not in labels.get(p["metadata"]["namespace"], {})]
    chains: list[str] = []
    maps: dict[str, list[str]] = {"egress": [], "ingress": []}
    for number, pod in enumerate(live):
        mine = [
            p for p in policies if p["metadata"]["namespace"] == pod["metadata"]["namespace"] and matches(p["spec"].get("podSelector"), _labels(pod))
        ]
        for direction, kind in (("egress", "Egress"), ("ingress", "Ingress")):
            selecting = [p for p in mine if kind in policy_types(p)]
            if not selecting:
                continue
            name = f"{direction}_{number}"
            allowed = [rule for policy in selecting for rule in _rules(policy, direction, pod, live, labels)]
            body = "".join(f"    {rule} return\n" for rule in dict.fromkeys(allowed))
            chains.append(f"  chain {name} {{\n{body}    drop\n  }}\n")
            maps[direction].append(f"{address(pod)} : jump {name}")
    known = ", ".join(sorted({address(pod) or "" for pod in live}))
    elements = f"    elements = {{ {known} }}\n" if known else ""

    def dispatch(direction: str, side: str) -> str:
        jump = f"    ip {side} vmap {{ {', '.join(maps[direction])} }}\n" if maps[direction] else ""
        return f"  chain {direction} {{\n{jump}    ip {side} @known return\n    drop\n  }}\n"

    return (
        f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
        f"  set known {{\n    type ipv4_addr\n{elements}  }}\n"
        + "".join(chains)
        + dispatch("egress", "saddr")
        + dispatch("ingress", "daddr")
        + f"""  chain forward {{
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
    ip saddr {pod_range} jump egress
    ip daddr {pod_range} jump ingress
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    ip saddr {pod_range} jump egress
  }}
}}
"""
    )


class Api:
    """Just enough of a client: list, and watch from a version, over one kubeconfig's server and certificate."""

    def __init__(self, server: str, ca: str, certificate: str, key: str) -> None:
        self.host = urllib.parse.urlsplit(server).netloc
        self.context = ssl.create_default_context(cafile=ca)
        self.context.load_cert_chain(certificate, key)

    def get(self, path: str, timeout: float) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(self.host, context=self.context, timeout=timeout)
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"GET {path}: {answer.status} {answer.read(500)!r}")
        return answer


class Kind(threading.Thread):
    """Keeps one kind's objects by list and watch; sets `dirty` at each change."""

    def __init__(self, api: Api, path: str, dirty: threading.Event) -> None:
        super().__init__(daemon=True)
        self.api, self.path, self.dirty = api, path, dirty
        self.objects: dict[str, Object] = {}
        self.lock = threading.Lock()
        self.synced = threading.Event()

    def run(self) -> None:
        while True:
            try:
                self.follow()
            except (OSError, ValueError, http.client.HTTPException) as error:
                logging.warning("%s: %s; listing again", self.path, error)
                time.sleep(0.5)

    def follow(self) -> None:
        listed = json.load(self.api.get(self.path, 30))
        with self.lock:
            self.objects = {self.key(item): item for item in listed.get("items") or []}
        self.synced.set()
        self.dirty.set()
        version = listed["metadata"]["resourceVersion"]
        answer = self.api.get(f"{self.path}?watch=true&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=240", 300)
        for line in answer:
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise OSError(str(event["object"]))
            if event["type"] == "BOOKMARK":
                continue
            with self.lock:
                if event["type"] == "DELETED":
                    self.objects.pop(self.key(event["object"]), None)
                else:
                    self.objects[self.key(event["object"])] = event["object"]
            self.dirty.set()

    @staticmethod
    def key(item: Object) -> str:
        return f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"

    def all(self) -> list[Object]:
        with self.lock:
            return list(self.objects.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--server", "--ca", "--certificate", "--key", "--pod-range"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    api = Api(options.server, options.ca, options.certificate, options.key)
    dirty = threading.Event()
    kinds = [Kind(api, path, dirty) for path in ("/api/v1/pods", "/api/v1/namespaces", "/apis/networking.k8s.io/v1/networkpolicies")]
    # Until the first lists are in, no pod sends anything.
    subprocess.run(["nft", "-f", "-"], input=render([], [], [], options.pod_range), text=True, check=True)
    for kind in kinds:
        kind.start()
    for kind in kinds:
        kind.synced.wait()
    last = ""
    while True:
        dirty.wait()
        dirty.clear()
        rules = render(*(kind.all() for kind in kinds), options.pod_range)
        if rules == last:
            continue
        done = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            logging.error("nft refused the rules, the old ones stay: %s\n%s", done.stderr, rules)
            time.sleep(1)
            dirty.set()
            continue
        last = rules
        logging.info("applied: %d pods, %d policies", len(kinds[0].all()), len(kinds[2].all()))


if __name__ == "__main__":
    main()
