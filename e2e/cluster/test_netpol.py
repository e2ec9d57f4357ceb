"""Tables for the NetworkPolicy stand-in: what each kind of policy becomes."""

from __future__ import annotations

import unittest

from e2e.cluster.netpol import UNENFORCED, matches, policy_types, render

RANGE = "10.244.0.0/16"


def pod(name, ip, labels=None, namespace="a", ports=(), **status):
    containers = [{"name": "c", "ports": [{"name": n, "containerPort": p} for n, p in ports]}]
    meta = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"metadata": meta, "spec": {"containers": containers}, "status": {"podIP": ip, "phase": "Running", **status}}


def policy(spec, namespace="a"):
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


NAMESPACES = [{"metadata": {"name": n, "labels": {"team": n}}} for n in ("a", "b")]


def chain(text, name):
    return [line.strip() for line in text.split(f"chain {name} {{\n")[1].split("  }")[0].splitlines()]


class Render(unittest.TestCase):
    def test_a_pod_without_policy_is_known_and_free(self):
        text = render([pod("x", "10.244.0.2")], NAMESPACES, [], RANGE)
        self.assertIn("elements = { 10.244.0.2 }", text)
        self.assertEqual(chain(text, "egress"), ["ip saddr @known return", "drop"])

    def test_an_unknown_pod_is_dropped(self):
        self.assertEqual(chain(render([], NAMESPACES, [], RANGE), "egress"), ["ip saddr @known return", "drop"])

    def test_deny_all(self):
        text = render([pod("x", "10.244.0.2")], NAMESPACES, [policy({"policyTypes": ["Ingress", "Egress"]})], RANGE)
        self.assertEqual(chain(text, "egress_0"), ["drop"])
        self.assertEqual(chain(text, "ingress_0"), ["drop"])

    def test_a_namespace_with_the_label_is_not_enforced(self):
        free = [{"metadata": {"name": "a", "labels": {UNENFORCED: "true"}}}]
        text = render([pod("x", "10.244.0.2")], free, [policy({"policyTypes": ["Ingress", "Egress"]})], RANGE)
        self.assertEqual(chain(text, "egress"), ["ip saddr @known return", "drop"])

    def test_policies_add_up(self):
        deny = policy({"policyTypes": ["Egress"]})
        allow = policy({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.9.0.0/16", "except": ["10.9.1.0/24"]}}]}]})
        text = render([pod("x", "10.244.0.2")], NAMESPACES, [deny, allow], RANGE)
        self.assertEqual(chain(text, "egress_0"), ["ip daddr 10.9.0.0/16 ip daddr != { 10.9.1.0/24 }  return", "drop"])

    def test_peers_of_another_namespace_and_named_ports(self):
        rule = {
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}, "podSelector": {"matchLabels": {"app": "llm"}}}],
            "ports": [{"port": "http"}, {"port": 1000, "endPort": 2000, "protocol": "UDP"}],
        }
        pods = [pod("x", "10.244.0.2"), pod("y", "10.244.0.3", {"app": "llm"}, "b", [("http", 8080)]), pod("z", "10.244.0.4", {}, "b")]
        text = render(pods, NAMESPACES, [policy({"policyTypes": ["Egress"], "egress": [rule]})], RANGE)
        self.assertEqual(
            chain(text, "egress_0"), ["ip daddr 10.244.0.3 tcp dport 8080 return", "ip daddr 10.244.0.3 udp dport 1000-2000 return", "drop"]
        )

    def test_an_empty_rule_allows_everything(self):
        text = render([pod("x", "10.244.0.2")], NAMESPACES, [policy({"ingress": [{}]})], RANGE)
        self.assertEqual(chain(text, "ingress_0"), ["return", "drop"])

    def test_other_namespaces_policies_do_not_select(self):
        text = render([pod("x", "10.244.0.2")], NAMESPACES, [policy({"policyTypes": ["Egress"]}, "b")], RANGE)
        self.assertNotIn("egress_0", text)

    def test_ended_pods_lose_their_address(self):
        self.assertNotIn("10.244.0.2", render([pod("x", "10.244.0.2", phase="Succeeded")], NAMESPACES, [], RANGE))

    def test_types_and_selectors(self):
        self.assertEqual(policy_types(policy({})), ["Ingress"])
        self.assertEqual(policy_types(policy({"egress": [{}]})), ["Ingress", "Egress"])
        self.assertTrue(matches({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {}))
        self.assertFalse(matches({"matchExpressions": [{"key": "a", "operator": "Like"}]}, {"a": "x"}))


if __name__ == "__main__":
    unittest.main()
