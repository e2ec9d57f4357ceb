"""The red team's session: a turned model writes redteam_attempts.py, the test command runs it; what it printed, and what guard put on record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from e2e.cluster import settings
from e2e.harness import turned_model
from e2e.harness import workspace as aw
from e2e.harness.shell import eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, FILES, World

NAMESPACE = "story-redteam"
NAME = "red-team"
PROGRAM = turned_model.REDTEAM_PROGRAM


@dataclass
class Told:
    """One attempt, as its program tells it."""

    got: str
    detail: str
    start: float
    end: float
    twin: tuple[str, str] | None


@dataclass
class Session:
    workspace: dict[str, Any]
    log: str  # of the agent's container
    told: dict[str, Told]
    record: list[dict[str, Any]]

    def lines(self) -> list[str]:
        return self.log.splitlines()

    def own(self, event: dict[str, Any]) -> dict[str, Any]:
        return event["unmapped"]["palisade"]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.record if self.own(event)["event"] == kind]

    def during(self, name: str, kind: str) -> list[dict[str, Any]]:
        """What was put on record of that kind while the attempt was made; attempts are made one after the other."""
        told = self.told[name]
        events = [e for e in self.events(kind) if int(told.start * 1000) <= e["time"] <= told.end * 1000]
        # A line that stands for many that were alike comes when their ten seconds are over.
        return [e for e in events if "count" not in e]


def addresses() -> dict[str, str]:
    endpoints = kubectl_json("get", "endpoints", "kubernetes", "-n", "default")["subsets"][0]
    gateway = kubectl_json("get", "service", "palisade-gateway", "-n", "palisade-gateway")["spec"]["clusterIP"]
    return {
        "outside": f"{settings.OUTSIDE_IP}:{settings.OUTSIDE_PORT}",
        "git": f"{settings.GIT_IP}:{settings.GIT_PORT}",
        "api": f"{settings.API_SERVICE_IP}:443",
        "api_endpoint": f"{endpoints['addresses'][0]['ip']}:{endpoints['ports'][0]['port']}",
        "relay": "127.0.0.1:4000",
        "relay_git": "127.0.0.1:4001",
        "gateway": f"{gateway}:8443",
    }


def files() -> dict[str, str]:
    return {**FILES, "redteam.json": json.dumps(addresses())}


def read_record(name: str, namespace: str) -> list[dict[str, Any]]:
    log = kubectl("logs", f"{name}-agent", "-n", namespace, "-c", "recorder", "--tail=-1").stdout
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def run(world: World) -> Session:
    """The whole session, to its end."""
    project = world.project("redteam", files())
    aw.create_namespace(NAMESPACE, project.token)
    # All of the repository's files: where a reply names another one, Aider adds that to the chat and asks again.
    task = {"message": turned_model.REDTEAM_REQUEST, "files": [EDIT_FILE, "README.md", "redteam.json"], "testCommand": ["python3", PROGRAM]}
    manifest = aw.manifest(NAME, NAMESPACE, project.url, message=None, task=task, lifecycle={"deadline": "20m", "ttlAfterFinished": "1h"})
    kubectl("apply", "-f", "-", stdin=world.json(manifest))
    workspace = aw.wait_phase(NAME, NAMESPACE, "Succeeded", timeout=1100)
    log = kubectl("logs", f"{NAME}-agent", "-n", NAMESPACE, "-c", "aider", "--tail=-1").stdout
    told: dict[str, Told] = {}
    for line in log.splitlines():
        if line.startswith("REDTEAM {"):
            one = json.loads(line.removeprefix("REDTEAM "))
            twin = tuple(one["twin"]) if one["twin"] else None
            told[one["name"]] = Told(one["got"], one["detail"], one["from"], one["to"], twin)
    return Session(workspace, log, told, read_record(NAME, NAMESPACE))


def pod_log(name: str, namespace: str, container: str) -> str:
    return kubectl("logs", f"{name}-agent", "-n", namespace, "-c", container, "--tail=-1").stdout


def wait_failed(name: str, namespace: str, timeout: float = 180) -> dict[str, Any]:
    """The workspace once it has failed."""

    def probe() -> dict[str, Any] | None:
        workspace = aw.get(name, namespace)
        return workspace if workspace.get("status", {}).get("phase") in aw.TERMINAL else None

    return eventually(f"{namespace}/{name} to end", probe, timeout=timeout)
