#!/usr/bin/env python3
"""What the real operator, webhook and gateway show to a real Prometheus: docs/metrics.md, the dashboard's queries, the alerts.

    scrape_test.py OPERATOR WEBHOOK GATEWAY           tests
    scrape_test.py OPERATOR WEBHOOK GATEWAY --write   writes the tables of docs/metrics.md
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass, field

from prometheus import ROOT, Server, alerts, running
from stage import SECRETS, TRACE, Stage, attributes, decoded

DOCUMENT = ROOT / "docs/metrics.md"
PROGRAMS: dict[str, str] = {}
# Alone what a scraper itself adds.
PREFIX = "palisade_"


@dataclass
class Metric:
    kind: str
    help: str
    labels: set[str] = field(default_factory=set)
    components: set[str] = field(default_factory=set)


def read_metrics(pages: dict[str, str]) -> dict[str, Metric]:
    out: dict[str, Metric] = {}
    for component, page in pages.items():
        helps = dict(re.findall(r"^# HELP (\S+) (.*)$", page, flags=re.M))
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, flags=re.M):
            metric = out.setdefault(name, Metric(kind, helps[name]))
            assert (metric.kind, metric.help) == (kind, helps[name]), f"{name} is one thing here and another there"
            metric.components.add(component)
        for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", page, flags=re.M):
            family = name if name in out else re.sub(r"_(bucket|sum|count)$", "", name)
            out[family].labels |= set(re.findall(r'(\w+)="', labels)) - {"le"}
    return out


def tables(metrics: dict[str, Metric]) -> dict[str, list[str]]:
    """Section of the document to its rows."""
    out: dict[str, list[str]] = {"All programs": [], "Operator and webhook": [], "Operator": [], "Webhook": [], "Gateway": []}
    for name, metric in sorted(metrics.items()):
        section = "All programs" if len(metric.components) == 3 else " and ".join(sorted(metric.components)).capitalize()
        labels = ", ".join(f"`{label}`" for label in sorted(metric.labels))
        out[section].append(f"| `{name}` | {metric.kind} | {labels} | {metric.help} |")
    return out


def documented(text: str) -> dict[str, list[str]]:
    out = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        out[title] = [line for line in body.splitlines() if line.startswith(f"| `{PREFIX}")]
    return out


def write(metrics: dict[str, Metric]) -> None:
    parts = re.split(r"^(?=## )", DOCUMENT.read_text(), flags=re.M)
    for at, part in enumerate(parts):
        for title, rows in tables(metrics).items():
            if part.startswith(f"## {title}\n"):
                head, rule, rest = part.partition("| --- | --- | --- | --- |\n")
                rest = "".join(line for line in rest.splitlines(keepends=True) if not line.startswith(("| `", "@")))
                parts[at] = head + rule + "\n".join(rows) + "\n" + rest
    DOCUMENT.write_text("".join(parts))


class Scrape(unittest.TestCase):
    stage: Stage
    server: Server

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        try:
            cls.set_up_stage()
        except SystemExit as error:  # which would leave the programs behind: unittest sees to Exceptions alone
            raise AssertionError(f"the stage did not come up: {error}") from error

    @classmethod
    def set_up_stage(cls):
        folder = pathlib.Path(cls.stack.enter_context(tempfile.TemporaryDirectory(prefix="palisade-monitoring-")))
        cls.stage = Stage(PROGRAMS, folder, cls.stack)
        cls.groups = alerts()
        cls.server = cls.stack.enter_context(running(folder, cls.stage.metrics, cls.groups))
        # What is there before anything happens: a rise needs a beginning.
        assert cls.server.until("count(palisade_build_info) == 3"), "not all programs are scraped"
        cls.tokens = cls.stage.play()
        cls.pages = {component: cls.stage.page(component) for component in PROGRAMS}
        cls.metrics = read_metrics(cls.pages)

    def test_every_metric_is_documented_as_it_is(self):
        found, written = tables(self.metrics), documented(DOCUMENT.read_text())
        for title, rows in found.items():
            self.assertEqual(written[title], rows, f"docs/metrics.md, {title}: run {sys.argv[0]} OPERATOR WEBHOOK GATEWAY --write")
        for name in self.metrics:
            self.assertTrue(name.startswith(PREFIX), name)

    def test_every_metric_in_the_sources_was_scraped(self):
        """One whose labels nothing has set yet would be in no page."""
        names = set()
        for folder in ("operator", "webhook", "gateway"):
            for source in (ROOT / folder).rglob("*.cpp"):
                names |= set(re.findall(rf'"({PREFIX}[a-z_]+)"', source.read_text()))
        self.assertGreater(len(names), 30)
        self.assertEqual(names - set(self.metrics), set())

    def test_every_query_of_the_dashboard_returns_data(self):
        listed = subprocess.run([ROOT / "scripts/dashboard", "--queries"], capture_output=True, text=True, check=True).stdout.splitlines()
        drawn = json.loads((ROOT / "charts/palisade/files/dashboard.json").read_text())
        self.assertEqual(len(listed), sum(len(panel.get("targets", [])) for panel in drawn["panels"]))
        empty = [query for query in listed if not self.server.until(query)]
        self.assertEqual(empty, [])
        self.assertEqual(set(re.findall(rf"{PREFIX}[a-z_]+", " ".join(listed))) - self.series(), set())

    def test_the_dashboard_shows_every_metric(self):
        text = (ROOT / "scripts/dashboard").read_text()
        self.assertEqual([name for name in self.metrics if name not in text], [])

    def series(self) -> set[str]:
        return set(self.server.ask("label/__name__/values")["data"])

    def test_every_alert_is_evaluated_on_series_that_exist(self):
        found = {rule["name"]: rule for group in self.server.ask("rules")["data"]["groups"] for rule in group["rules"]}
        self.assertEqual(set(found), {rule["alert"] for group in self.groups for rule in group["rules"]})
        there = self.series()
        for name, rule in found.items():
            self.assertIn(rule["health"], ("ok", "unknown"), f"{name}: {rule.get('lastError')}")
            self.assertEqual(set(re.findall(rf"{PREFIX}[a-z_]+", rule["query"])) - there, set(), name)

    def test_alerts_fire_on_what_happened_here(self):
        firing = 'ALERTS{alertname="PalisadeAgentTriesToEscape", workspace_namespace="team-a", workspace="fix-login", alertstate="firing"}'
        self.assertTrue(self.server.until(firing))
        self.assertTrue(self.server.until('ALERTS{alertname="PalisadePodsNotHardened", alertstate="pending"}'))
        loud = {one["metric"]["alertname"] for one in self.server.query("ALERTS")}
        self.assertLessEqual(loud, {"PalisadeAgentTriesToEscape", "PalisadePodsNotHardened"})

    def test_numbers_are_what_happened(self):
        for query, value in {
            'sum(palisade_operator_workspaces{phase="Running"})': 1, 'sum(palisade_operator_workspaces{phase="Succeeded"})': 1,
            "sum(palisade_operator_time_to_ready_seconds_count)": 2, 'sum(palisade_agent_refusals_total{kind="program"})': 18,
            'sum(palisade_agent_refusals_total{kind="connection"})': 5, 'sum(palisade_agent_refusals_total{kind="other"})': 7,
            "sum(palisade_agent_programs_total)": 40, "sum(palisade_agent_findings_total)": 2,
            'palisade_agent_workspace_refusals{workspace_namespace="team-a",workspace="fix-login"}': 30,
            'sum(palisade_scan_pods{verdict="fail"})': 1, 'sum(palisade_webhook_reviews_total{verdict="denied"})': 2,
            "sum(palisade_operator_unisolated_workspaces)": 0, "sum(palisade_operator_queue_failing)": 0,
            'count(palisade_watch_silence_seconds{job="webhook"})': 6, 'count(palisade_watch_silence_seconds{job="gateway"})': 5,
        }.items():
            with self.subTest(query=query):
                self.assertTrue(self.server.until(f"{query} == {value}"), f"is {self.server.query(query)}, not {value}")
        # A watch counts when it ends.
        for verb in ("GET", "PATCH", "POST"):
            self.assertTrue(self.server.until(f'palisade_api_requests_total{{job="operator",verb="{verb}"}} > 0'), verb)

    def test_a_look_is_a_trace_with_its_calls(self):
        def traced() -> list[dict]:
            spans = self.stage.spans("palisade-operator")
            about = {attributes(span)["palisade.workspace"] for span in spans if span["name"] == "reconcile"}
            return spans if {"fix-login", "fix-logout"} <= about else []

        spans = self.stage.until("traces of the operator", traced)
        looks = {span["spanId"]: span for span in spans if span["name"] == "reconcile"}
        self.assertEqual({attributes(look)["k8s.namespace.name"] for look in looks.values()}, {"team-a"})
        self.assertTrue(all("parentSpanId" not in look for look in looks.values()))
        # The numbers by which the log's lines can be found.
        logged = {line["look"] for line in self.lines("operator") if "look" in line}
        self.assertTrue(logged & {attributes(look)["palisade.look"] for look in looks.values()})
        calls = [span for span in spans if span.get("parentSpanId") in looks]
        self.assertTrue(all(call["traceId"] == looks[call["parentSpanId"]]["traceId"] for call in calls))
        made = [attributes(call) for call in calls if call["name"] == "POST"]
        self.assertIn("/api/v1/namespaces/team-a/pods", {one["url.path"] for one in made})
        self.assertIn("201", {one["http.response.status_code"] for one in made})

    def test_a_review_belongs_to_its_callers_trace(self):
        def reviews() -> list[dict]:
            return [span for span in self.stage.spans("palisade-webhook") if span["name"] == "review"]

        self.stage.until("traces of the webhook", lambda: len(reviews()) == 2)
        for span in reviews():
            self.assertEqual((span["traceId"], span["parentSpanId"], span["kind"]), (TRACE, "b7ad6b7169203331", 2))
            told = attributes(span)
            self.assertEqual((told["palisade.review.verdict"], told["palisade.review.resource"], told["palisade.review.operation"]), ("denied", "pods", "CREATE"))
            self.assertEqual(told["palisade.review.uid"], "705ab4f5-6393-11e8-b7cc-42010a800002")
            self.assertIn("not-privileged", told["palisade.controls.denied"].split(","))
        for headers, _ in self.stage.traces:
            self.assertEqual((headers["path"], headers["authorization"]), ("/v1/traces", f"Bearer {SECRETS[2]}"))

    def lines(self, component: str) -> list[dict]:
        text = self.stage.log(component).read_text()
        return [json.loads(line) for line in text.splitlines()]

    def test_lines_of_the_logs_say_what_they_are_about(self):
        looks = [line for line in self.lines("operator") if "look" in line]
        self.assertEqual({(line["namespace"], line["workspace"]) for line in looks}, {("team-a", "fix-login"), ("team-a", "fix-logout")})
        about = [line for line in self.lines("operator") if "fix-log" in line["message"]]
        self.assertTrue(about)
        for line in about:
            self.assertEqual(line["message"].split(":")[0], f"{line['namespace']}/{line['workspace']}", line)
        # One look's lines have its number, and no other's.
        self.assertGreater(len({line["look"] for line in looks}), 2)
        denied = [line for line in self.lines("webhook") if line["message"].startswith("denied")]
        self.assertEqual(len(denied), 2)
        for line in denied:
            self.assertEqual((line["namespace"], line["request"]), ("team-a", "705ab4f5-6393-11e8-b7cc-42010a800002"))
        calls = [line for line in self.lines("gateway") if line.get("kind") == "llm" and line["verdict"] == "allowed"]
        self.assertEqual({(line["namespace"], line["workspace"]) for line in calls}, {("team-a", "fix-login"), ("team-a", "fix-logout")})

    def test_no_secret_is_shown_or_logged(self):
        secrets = [form for secret in (*SECRETS, *self.tokens, self.stage.token) for form in decoded(secret)]
        for component in PROGRAMS:
            text = self.pages[component] + self.stage.log(component).read_text()
            self.assertIn("{", text)
            for secret in secrets:
                self.assertNotIn(secret, text, f"{component} shows a secret")
        told = json.dumps([body for _, body in self.stage.traces])
        self.assertIn("reconcile", told)
        for secret in secrets:
            self.assertNotIn(secret, told, "a trace shows a secret")


if __name__ == "__main__":
    PROGRAMS = dict(zip(("operator", "webhook", "gateway"), sys.argv[1:4], strict=True))
    if sys.argv[4:] == ["--write"]:
        try:
            Scrape.setUpClass()
            write(Scrape.metrics)
        finally:
            Scrape.doClassCleanups()
    else:
        unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
