#!/usr/bin/env python3
"""The chart's monitors, rules and dashboard: off by default, there where they are asked for and can be, and as their values say."""

import json
import subprocess
import unittest

from prometheus import ROOT, TOOLS, helm

CHART = str(ROOT / "charts/palisade")
API = ("--api-versions", "monitoring.coreos.com/v1")
KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


def objects(text: str) -> list[dict]:
    done = subprocess.run([TOOLS / "kubectl", "patch", "--local", "--type=merge", "-p", "{}", "-o", "json", "-f", "-"], input=text, text=True,
                          capture_output=True, check=True)
    decoder, at, out = json.JSONDecoder(), 0, []
    while at < len(done.stdout.rstrip()):
        one, at = decoder.raw_decode(done.stdout, at)
        at += len(done.stdout[at:]) - len(done.stdout[at:].lstrip())
        out.append(one)
    return out


class Chart(unittest.TestCase):
    def render(self, values: dict, *flags: str, everything: bool = False) -> list[dict]:
        only = [] if everything else ["--show-only", "templates/monitoring.yaml"]
        done = helm("template", "palisade", CHART, "--namespace", "palisade-system", "--skip-tests", *only, *flags, *self.sets(values))
        # Nothing of one template alone is an error to Helm.
        if done.returncode and "could not find template" in done.stderr:
            return []
        self.assertEqual(done.returncode, 0, done.stderr)
        return objects(done.stdout)

    @staticmethod
    def sets(values: dict) -> list[str]:
        return [part for key, value in values.items() for part in ("--set-json", f"{key}={json.dumps(value)}")]

    def refused(self, values: dict, message: str) -> None:
        done = helm("template", "palisade", CHART, *self.sets(values))
        self.assertNotEqual(done.returncode, 0, values)
        self.assertIn(message, done.stderr)

    def test_nothing_by_default(self):
        self.assertEqual(self.render({}, *API), [])

    def test_traces_go_where_the_values_say(self):
        plain = self.render({}, everything=True)
        self.assertNotIn("--otlp-endpoint", json.dumps(plain))
        rule = {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}], "ports": [{"protocol": "TCP", "port": 4318}]}
        values = {"tracing": {"endpoint": "http://otel.observability.svc:4318", "ratio": 0.5, "ca": "PEM", "headersSecret": {"name": "otel", "key": "h"}},
                  "networkPolicy.tracing": [rule]}
        rendered = self.render(values, everything=True)
        for component in ("operator", "webhook"):
            deployment = next(one for one in rendered if one["kind"] == "Deployment" and one["metadata"]["name"] == f"palisade-{component}")
            pod = deployment["spec"]["template"]["spec"]
            wanted = {"--otlp-endpoint=http://otel.observability.svc:4318", "--trace-ratio=0.5", "--otlp-ca-file=/etc/palisade/otlp-ca.pem",
                      "--otlp-headers-file=/etc/palisade-otlp/headers"}
            self.assertLessEqual(wanted, set(pod["containers"][0]["args"]))
            self.assertIn({"name": "otlp-headers", "mountPath": "/etc/palisade-otlp", "readOnly": True}, pod["containers"][0]["volumeMounts"])
            self.assertIn("otel", [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume])
            policy = next(one for one in rendered if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == f"palisade-{component}")
            self.assertIn(rule, policy["spec"]["egress"])
        self.refused({"tracing.endpoint": "http://otel:4318"}, "networkPolicy.tracing")
        self.refused({"tracing.endpoint": "otel:4318"}, "/tracing/endpoint")
        self.refused({"tracing.headersSecret": {"name": "otel"}}, "/tracing/headersSecret")

    def test_nothing_that_the_cluster_does_not_know(self):
        for what in ("serviceMonitor", "podMonitor", "prometheusRule"):
            with self.subTest(what=what):
                values = {f"monitoring.{what}.enabled": True}
                self.assertEqual(self.render(values), [])
                kinds = [one["kind"] for one in self.render(values, *API) if one["kind"] != "Service"]
                self.assertEqual(kinds, [what[0].upper() + what[1:]])
                self.assertEqual(len(self.render(values | {"monitoring.force": True})), len(self.render(values, *API)))

    def test_a_service_monitor_finds_the_pods_of_every_program(self):
        values = {"monitoring.serviceMonitor": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}, "interval": "10s"}, "gateway.namespace": "keys"}
        everything = self.render(values, *API, everything=True)
        monitor = next(one for one in everything if one["kind"] == "ServiceMonitor")
        self.assertEqual(monitor["metadata"]["labels"]["release"], "kube-prometheus-stack")
        self.assertEqual(monitor["spec"]["namespaceSelector"]["matchNames"], ["keys", "palisade-system"])
        self.assertEqual(monitor["spec"]["endpoints"], [{"port": "metrics", "path": "/metrics", "interval": "10s"}])
        wanted = monitor["spec"]["selector"]["matchLabels"]
        services = [one for one in everything if one["kind"] == "Service" and wanted.items() <= one["metadata"]["labels"].items()]
        found = set()
        for service in services:
            self.assertEqual(service["spec"]["clusterIP"], "None")
            self.assertEqual([port["name"] for port in service["spec"]["ports"]], ["metrics"])
            found |= {pod for pod in self.pods(everything, service["metadata"]["namespace"], service["spec"]["selector"])}
        self.assertEqual(found, {"palisade-operator", "palisade-webhook", "palisade-gateway"})
        # No Service that serves reviews or agents is scraped.
        self.assertEqual(len(services), 3)

    def pods(self, everything: list[dict], namespace: str, selector: dict) -> list[str]:
        """Deployments whose pods these labels select, each with a port `metrics`."""
        out = []
        for one in everything:
            if one["kind"] != "Deployment" or one["metadata"]["namespace"] != namespace:
                continue
            template = one["spec"]["template"]
            if selector.items() <= template["metadata"]["labels"].items():
                self.assertIn("metrics", [port["name"] for port in template["spec"]["containers"][0]["ports"]])
                out.append(one["metadata"]["name"])
        return out

    def test_a_pod_monitor_finds_the_same(self):
        everything = self.render({"monitoring.podMonitor": {"enabled": True, "labels": {"team": "platform"}, "interval": "1m"}}, *API, everything=True)
        monitor = next(one for one in everything if one["kind"] == "PodMonitor")
        self.assertEqual(monitor["metadata"]["labels"]["team"], "platform")
        self.assertEqual(monitor["spec"]["podMetricsEndpoints"], [{"port": "metrics", "path": "/metrics", "interval": "1m"}])
        expression = monitor["spec"]["selector"]["matchExpressions"][0]
        found = [pod for namespace in monitor["spec"]["namespaceSelector"]["matchNames"] for component in expression["values"]
                 for pod in self.pods(everything, namespace, monitor["spec"]["selector"]["matchLabels"] | {expression["key"]: component})]
        self.assertEqual(sorted(found), ["palisade-gateway", "palisade-operator", "palisade-webhook"])
        self.assertEqual([one for one in everything if one["kind"] == "Service" and one["metadata"]["name"].endswith("-metrics")], [])

    def test_without_a_gateway_nothing_looks_for_one(self):
        values = {"gateway.enabled": False, "llmGateways": [{"name": "default", "url": "https://llm.example.com/v1"}], "monitoring.serviceMonitor.enabled": True,
                  "monitoring.prometheusRule.enabled": True}
        text = json.dumps(self.render(values, *API))
        self.assertNotIn("palisade-gateway", text)
        self.assertNotIn("PalisadeGatewayDown", text)
        self.assertIn("PalisadeWebhookDown", text)

    def test_the_rules_have_labels_and_runbooks(self):
        rule, = self.render({"monitoring.prometheusRule": {"enabled": True, "labels": {"role": "alert-rules"}, "runbookUrl": "https://wiki.example.com/p"}}, *API)
        self.assertEqual(rule["metadata"]["labels"]["role"], "alert-rules")
        urls = [one["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for one in group["rules"]]
        self.assertGreater(len(urls), 10)
        self.assertIn("https://wiki.example.com/p#palisadequeuestuck", urls)

    def test_the_dashboard_is_what_the_script_writes(self):
        shown, = self.render({"monitoring.dashboard": {"enabled": True, "namespace": "grafana", "labels": {"find-me": "yes"}, "annotations": {"folder": "Agents"}}})
        self.assertEqual((shown["kind"], shown["metadata"]["namespace"], shown["metadata"]["annotations"]), ("ConfigMap", "grafana", {"folder": "Agents"}))
        self.assertEqual(shown["metadata"]["labels"]["find-me"], "yes")
        self.assertEqual(shown["data"]["palisade.json"], (ROOT / "charts/palisade/files/dashboard.json").read_text())

    def test_wrong_values_are_refused_with_their_path(self):
        both = {"monitoring.serviceMonitor.enabled": True, "monitoring.podMonitor.enabled": True}
        self.refused(both, "scraped twice: enable one of them")
        for values, path in (({"monitoring.serviceMonitor.interval": "fast"}, "interval"), ({"monitoring.podMonitor.interval": "0s"}, "interval"),
                             ({"monitoring.prometheusRule.runbookUrl": "wiki"}, "runbookUrl"), ({"monitoring.dashboard.enabled": "yes"}, "enabled"),
                             ({"monitoring.serviceMonitor.label": {}}, "label"), ({"monitoring.serviceMonitor.labels": {"a": 1}}, "labels")):
            with self.subTest(values=values):
                self.refused(values, path)

    def test_the_notes_say_what_is_missing(self):
        def notes(*flags: str) -> str:
            done = helm("install", "palisade", CHART, "--dry-run=client", "--namespace", "palisade-system", *flags)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout.split("NOTES:", 1)[1]

        asked = ("--set", "monitoring.podMonitor.enabled=true")
        self.assertNotIn("scrape", notes())
        self.assertIn("does not know monitoring.coreos.com/v1", notes(*asked))
        self.assertIn("Nobody may scrape operator and webhook yet", notes(*asked))
        self.assertNotIn("Nobody may scrape", notes(*asked, "--set-json", 'networkPolicy.metricsFrom=[{"namespaceSelector": {}}]'))


if __name__ == "__main__":
    unittest.main()
