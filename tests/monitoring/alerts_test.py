#!/usr/bin/env python3
"""Each alert of the chart, as it is installed: where it fires, where it does not, and where its runbook is."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest
from dataclasses import dataclass, field

from prometheus import ROOT, alerts, helm, program

Series = dict[str, str]  # a series: its values, in promtool's words, one a minute
WEBHOOK_EXPIRY = 'palisade_webhook_certificate_expiry_timestamp_seconds{namespace="n",pod="w",instance="i"}'
GATEWAY_EXPIRY = 'palisade_gateway_certificate_expiry_timestamp_seconds{namespace="n",pod="g",instance="i"}'
SILENCE = 'palisade_watch_silence_seconds{namespace="n",pod="o",instance="i",resource="pods"}'
DENIED = 'palisade_webhook_reviews_total{operation="CREATE",verdict="denied"}'
BURNT = 'palisade_gateway_budget_refusals_total{code="budget_exceeded"}'
WAIT, LOOK = "palisade_operator_queue_longest_wait_seconds", "palisade_operator_longest_look_seconds"
LEADER = 'palisade_operator_leader{{instance="{}"}}'
EMPTY = 'palisade_operator_pools{state="empty"}'
SHED, LATE = "palisade_webhook_shed_total", "palisade_webhook_late_total"
REFUSED = 'palisade_agent_workspace_refusals{workspace_namespace="team-a",workspace="fix"}'
ARCHIVE = 'palisade_gateway_requests_total{{kind="archive",verdict="{}",code="archive_full"}}'
DAYS = 24 * 3600
UP = {component: f'palisade_build_info{{component="{component}",version="1",instance="i"}}' for component in ("operator", "webhook", "gateway")}


@dataclass
class Fires:
    series: Series
    at: str
    labels: dict[str, str] = field(default_factory=dict)
    summary: str = ""  # "": the alert's own, which names nothing


@dataclass
class Alert:
    fires: list[Fires]
    quiet: list[tuple[Series, str]]


def down(component: str) -> Alert:
    others = {series: "1x60" for name, series in UP.items() if name != component}
    # A program that is gone has its series marked as stale by its last scrape.
    return Alert([Fires(others, "10m", {"component": component}), Fires(others | {UP[component]: "1x10 stale"}, "20m", {"component": component})],
                 [(others | {UP[component]: "1x60"}, "10m"), (others | {UP[component]: "1x10 stale _x3 1x40"}, "16m")])


CASES: dict[str, Alert] = {
    "PalisadeOperatorDown": down("operator"),
    "PalisadeOperatorStandsBy": Alert(
        [Fires({LEADER.format("a"): "0x60", LEADER.format("b"): "0x60"}, "10m"), Fires({LEADER.format("a"): "1x10 stale", LEADER.format("b"): "0x60"}, "20m")],
        # One takes over; and where none is seen, that is another alert.
        [({LEADER.format("a"): "1x10 stale", LEADER.format("b"): "0x12 1x40"}, "20m"), ({UP["operator"]: "stale"}, "20m")]),
    "PalisadeWebhookDown": down("webhook"),
    "PalisadeGatewayDown": down("gateway"),
    "PalisadeWatchStale": Alert(
        [Fires({SILENCE: "0+60x60"}, "22m", {"namespace": "n", "pod": "o", "instance": "i", "resource": "pods"}, "i has heard nothing of pods for 22m 0s.")],
        # One that ends and begins anew every ten minutes.
        [({SILENCE: "0+60x10 0+60x10 0+60x10"}, "22m"), ({SILENCE: "0+60x18 0+60x20"}, "18m")]),
    "PalisadeCertificateExpires": Alert(
        [Fires({WEBHOOK_EXPIRY: f"{6 * DAYS}x60"}, "20m", {"namespace": "n", "pod": "w", "instance": "i"},
               "The serving certificate of i ends in 5d 23h 40m 0s."),
         Fires({GATEWAY_EXPIRY: f"{6 * DAYS}x60"}, "20m", {"namespace": "n", "pod": "g", "instance": "i"},
               "The serving certificate of i ends in 5d 23h 40m 0s."),
         Fires({WEBHOOK_EXPIRY: "0x60"}, "20m", {"namespace": "n", "pod": "w", "instance": "i"}, "The serving certificate of i ends in -20m 0s.")],
        [({WEBHOOK_EXPIRY: f"{30 * DAYS}x60", GATEWAY_EXPIRY: f"{8 * DAYS}x60"}, "20m"),
         ({WEBHOOK_EXPIRY: f"{6 * DAYS}x10 {90 * DAYS}x50"}, "20m")]),
    "PalisadeGatewayConfigRefused": Alert(
        [Fires({'palisade_gateway_config_accepted{namespace="n",pod="g",instance="i"}': "1x3 0x30"}, "20m", {"namespace": "n", "pod": "g", "instance": "i"},
               "i has refused its changed configuration.")],
        [({'palisade_gateway_config_accepted{namespace="n",pod="g",instance="i"}': "1x3 0x2 1x30"}, "20m")]),
    "PalisadeQueueStuck": Alert(
        [Fires({WAIT: "0+60x60", LOOK: "0x60"}, "15m", {}, "A workspace has waited for the operator for 15m 0s."),
         Fires({WAIT: "0x60", LOOK: "0+60x60"}, "20m", {}, "A workspace has waited for the operator for 20m 0s.")],
        [({WAIT: "4x60", LOOK: "30x60"}, "20m"), ({WAIT: "0+60x8 0x50", LOOK: "0x60"}, "9m")]),
    "PalisadeReconcilesFail": Alert(
        [Fires({"palisade_operator_queue_failing": "0 2x60"}, "35m", {}, "The operator has failed to look at 2 workspaces for half an hour.")],
        [({"palisade_operator_queue_failing": "0 2x10 0 2x40"}, "35m"), ({"palisade_operator_queue_failing": "0x60"}, "50m")]),
    "PalisadePoolEmpty": Alert(
        [Fires({EMPTY: "0x5 2x60"}, "40m", {}, "Not one pod has waited in 2 pools for half an hour.")],
        # One that is emptied and filled again; and pools from which nothing is asked.
        [({EMPTY: "1x20 0x1 1x20"}, "40m"), ({'palisade_operator_pools{state="idle"}': "3x60", EMPTY: "0x60"}, "40m")]),
    "PalisadeReviewsShed": Alert(
        [Fires({SHED: "0+10x60", LATE: "0x60"}, "15m"), Fires({SHED: "0x60", LATE: "0x5 0+1x50"}, "20m")],
        [({SHED: "7x60", LATE: "0x60"}, "15m"), ({SHED: "0x5 3x50", LATE: "0x60"}, "30m")]),
    "PalisadeBudgetBurnt": Alert(
        [Fires({BURNT: "0x5 1x50"}, "20m")],
        [({BURNT: "5x60"}, "20m"), ({'palisade_gateway_budget_refusals_total{code="rate_limited"}': "0+5x60", BURNT: "0x60"}, "20m"),
         ({BURNT: "0x5 1x60"}, "50m")]),
    "PalisadeDenialsSurge": Alert(
        [Fires({DENIED: "0x1400 0+6x60"}, "1420m", {}, "The webhook has denied 90 requests in 15 minutes, over five times as many as usual.")],
        # As many every quarter of an hour of the day; and a few where there were none.
        [({DENIED: "0+6x1500"}, "1420m"), ({DENIED: "0x1400 0+1x60"}, "1420m"), ({DENIED: "100x1500"}, "1420m")]),
    "PalisadeIsolationNotEnforced": Alert(
        [Fires({"palisade_operator_unisolated_workspaces": "0 1x10"}, "5m", {}, "1 workspaces found no isolation where they ran.")],
        [({"palisade_operator_unisolated_workspaces": "0x10"}, "5m"), ({"palisade_operator_unisolated_workspaces": "1x3 0x10"}, "8m")]),
    "PalisadePodsNotHardened": Alert(
        [Fires({'palisade_scan_pods{verdict="fail",instance="a"}': "2x30", 'palisade_scan_pods{verdict="fail",instance="b"}': "0x30"}, "15m", {},
               "2 running agent pods break a control that is enforced.")],
        [({'palisade_scan_pods{verdict="fail"}': "0x30", 'palisade_scan_pods{verdict="warn"}': "3x30", 'palisade_scan_pods{verdict="pass"}': "9x30"}, "15m"),
         ({'palisade_scan_pods{verdict="fail"}': "1x8 0x30"}, "15m")]),
    "PalisadeAgentTriesToEscape": Alert(
        [Fires({REFUSED: "3x3 25x10"}, "5m", {"workspace_namespace": "team-a", "workspace": "fix"}, "The agent of team-a/fix was refused 25 times.")],
        [({REFUSED: "19x10"}, "5m"), ({REFUSED: "25x3 stale"}, "8m")]),
    "PalisadeRecordLost": Alert(
        [Fires({"palisade_gateway_record_dropped_total": "0x5 4x30"}, "10m")],
        [({"palisade_gateway_record_dropped_total": "4x30"}, "10m"), ({"palisade_gateway_record_dropped_total": "0x5 4x40"}, "30m")]),
    "PalisadeArchiveFails": Alert(
        [Fires({ARCHIVE.format("failed"): "0+2x40"}, "20m")],
        # A replica that was replaced, and what was refused for good reason.
        [({ARCHIVE.format("failed"): "0 3x40"}, "20m"), ({ARCHIVE.format("failed"): "0x3 0+1x3 3x40"}, "8m"), ({ARCHIVE.format("refused"): "0+2x40"}, "20m")]),
}
GROUPS = alerts()
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def promtool_test(name: str, series: Series, at: str, expected: list[dict]) -> dict:
    return {"interval": "1m", "name": name, "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": expected}]}


class Alerts(unittest.TestCase):
    def run_promtool(self, tests: list[dict]) -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "rules.json").write_text(json.dumps({"groups": GROUPS}))
            (folder / "tests.json").write_text(json.dumps({"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": tests}))
            return subprocess.run([program("promtool"), "test", "rules", folder / "tests.json"], capture_output=True, text=True, check=False)

    def test_every_alert_is_tried(self):
        self.assertEqual(set(RULES), set(CASES))
        for name, case in CASES.items():
            self.assertTrue(case.fires and case.quiet, name)

    def test_each_fires_and_is_quiet_where_it_should(self):
        tests = []
        for name, case in CASES.items():
            rule = RULES[name]
            for one in case.fires:
                expected = {"exp_labels": rule["labels"] | one.labels,
                            "exp_annotations": rule["annotations"] | ({"summary": one.summary} if one.summary else {})}
                tests.append(promtool_test(name, one.series, one.at, [expected]))
            tests += [promtool_test(name, series, at, []) for series, at in case.quiet]
        done = self.run_promtool(tests)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_wrong_expectation_would_be_seen(self):
        name = "PalisadeIsolationNotEnforced"
        done = self.run_promtool([promtool_test(name, CASES[name].fires[0].series, "5m", [])])
        self.assertNotEqual(done.returncode, 0)

    def test_each_says_what_to_do(self):
        runbooks = (ROOT / "docs/runbooks.md").read_text()
        headings = re.findall(r"^## (\S+)$", runbooks, flags=re.M)
        self.assertEqual(sorted(headings), sorted(RULES), "docs/runbooks.md has one heading for each alert")
        for name, rule in RULES.items():
            self.assertTrue(rule["annotations"]["runbook_url"].endswith("/runbooks#" + name.lower()), name)
            self.assertIn(rule["labels"]["severity"], ("warning", "critical"), name)
            section = runbooks.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
            for part in ("**Means.**", "**Look.**", "**Do.**"):
                self.assertIn(part, section, name)

    def test_they_name_metrics_that_are_documented(self):
        documented = (ROOT / "docs/metrics.md").read_text()
        for name, rule in RULES.items():
            for metric in set(re.findall(r"palisade_[a-z_]+", rule["expr"])):
                self.assertIn(f"`{metric}", documented, name)

    def test_the_values_leave_alerts_out(self):
        chart = ["template", "palisade", str(ROOT / "charts/palisade"), "--show-only", "templates/monitoring.yaml", "--set", "monitoring.force=true", "--set",
                 "monitoring.prometheusRule.enabled=true"]
        rendered = helm(*chart, "--set", "monitoring.prometheusRule.disabled={PalisadeBudgetBurnt}").stdout
        self.assertNotIn("PalisadeBudgetBurnt", rendered)
        self.assertIn("PalisadeQueueStuck", rendered)
        unknown = helm(*chart, "--set", "monitoring.prometheusRule.disabled={PalisadeBudgetBurned}")
        self.assertNotEqual(unknown.returncode, 0)
        self.assertIn("PalisadeBudgetBurned is no alert of this chart", unknown.stderr)
        without = helm(*chart, "--set", "gateway.enabled=false", "--set", "llmGateways[0].name=default", "--set", "llmGateways[0].url=https://llm.example.com/v1")
        self.assertEqual(without.returncode, 0, without.stderr)
        for name, rule in RULES.items():
            only_gateway = "gateway" in rule["expr"] and "webhook" not in rule["expr"]
            self.assertEqual(f"alert: {name}\n" in without.stdout, not only_gateway, name)


if __name__ == "__main__":
    unittest.main()
