"""What outlives a session: its record and what its agent printed, whole in the archive's volume once pod and workspace are gone; and an agent that cannot add to it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from typing import Any

import pytest

from e2e.cluster import settings
from e2e.harness import workspace as aw
from e2e.harness.archived import assert_from_start_to_end, assert_has_what_was_printed, event_of
from e2e.harness.shell import ROOT, apply, eventually, kubectl, kubectl_json, run
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, GATEWAY, World, install_palisade

NAMESPACE = "story-archive"
CLAIM = "palisade-archive"
VOLUME = "story-archive"
DISK = settings.STATE / "volumes" / VOLUME
PROGRAM = ROOT / os.environ.get("PALISADE_BIN", "build/release/bin") / "palisade"

# From the agent's container: every way that somebody could think of to the archive behind the relay. Prints the answers' statuses.
FORGE = r"""
import http.client, json
out = []
for port in (4000, 4001):
    for path in ("/archive/record?offset=0", "/archive/close?record=0&output=0", "//archive/record?offset=0", "/v1/../archive/record?offset=0",
                 "/git/../archive/record?offset=0", "/v1/%2e%2e/archive/record?offset=0", "/v1/..%2farchive/record?offset=0", "/-/archive/record"):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", path, b"forged")
            out.append(connection.getresponse().status)
        except OSError as error:
            out.append(str(error))
print(json.dumps(out))
"""


def volume() -> dict[str, Any]:
    """A disk of the one node, which all replicas of the gateway share."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": VOLUME},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "archive",
            "claimRef": {"namespace": GATEWAY, "name": CLAIM},
            "local": {"path": str(DISK)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [settings.NODE]}]}]}
            },
        },
    }


def drop_volume() -> None:
    kubectl("delete", "pvc", CLAIM, "-n", GATEWAY, "--ignore-not-found", "--timeout=60s")
    kubectl("delete", "pv", VOLUME, "--ignore-not-found", "--timeout=60s")


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("archive")
    aw.create_namespace(NAMESPACE, project.token)
    drop_volume()
    shutil.rmtree(DISK, ignore_errors=True)
    DISK.mkdir(parents=True)
    apply(volume())
    install_palisade(archive={"enabled": True, "pvc": {"size": "1Gi", "storageClass": "archive"}})
    try:
        apply(
            aw.manifest("task", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE]),
            aw.manifest("open", NAMESPACE, project.url, message=None),
        )
        yield project
    finally:
        for name in ("task", "open"):
            aw.delete(name, NAMESPACE)
        install_palisade()
        drop_volume()


def uid(name: str) -> str:
    return kubectl_json("get", "pod", f"{name}-agent", "-n", NAMESPACE)["metadata"]["uid"]


def workspace_folder(name: str) -> pathlib.Path:
    return DISK / NAMESPACE / name / aw.get(name, NAMESPACE)["metadata"]["uid"]


def test_a_session_is_whole_in_the_archive_once_its_pod_is_gone(project):
    workspace = aw.wait_phase("task", NAMESPACE, "Succeeded", timeout=240)
    archived = aw.wait_condition("task", NAMESPACE, "Archived", "True", "Complete")
    kept = workspace_folder("task") / uid("task")
    location = workspace["status"]["archive"]["location"]
    assert location == f"pvc://{GATEWAY}/{CLAIM}/{NAMESPACE}/task/{workspace['metadata']['uid']}" and location in archived["message"]
    assert workspace["status"]["archive"]["complete"] is True
    shown = kubectl("logs", "task-agent", "-n", NAMESPACE, "-c", "recorder").stdout
    printed = kubectl("logs", "task-agent", "-n", NAMESPACE, "-c", "aider").stdout
    kubectl("delete", "pod", "task-agent", "-n", NAMESPACE, "--timeout=90s")

    assert (kept / "record.jsonl").read_text() == shown
    assert_from_start_to_end(shown)
    output = (kept / "output.log").read_text()
    assert EDIT_FILE in output
    assert_has_what_was_printed(output, printed)
    sizes = {name: (kept / file).stat().st_size for name, file in (("record", "record.jsonl"), ("output", "output.log"))}
    assert json.loads((kept / "complete.json").read_text()) == sizes
    assert workspace["status"]["archive"]["bytes"] == sum(sizes.values())
    secrets = (project.token, "Bearer ")
    assert not [one for one in secrets if one in output or one in shown]


def test_the_command_line_says_where_and_reads_it(project):
    kept = next((DISK / NAMESPACE / "task").glob("*/*"))
    gone = run([str(PROGRAM), "audit", "task", "-n", NAMESPACE], check=False)
    assert gone.returncode == 2 and f"pvc://{GATEWAY}/{CLAIM}/{NAMESPACE}/task" in gone.stderr, gone.stderr
    logs = run([str(PROGRAM), "logs", "task", "-n", NAMESPACE], check=False)
    assert logs.returncode == 2 and "output.log" in logs.stderr, logs.stderr
    read = run([str(PROGRAM), "audit", "--file", str(kept), "-o", "json"], check=False)
    assert read.returncode in (0, 1), read.stderr
    assert read.stdout == (kept / "record.jsonl").read_text()


def test_the_agent_has_no_way_to_it(project):
    aw.wait_phase("open", NAMESPACE, "Running")
    kubectl("wait", "pod/open-agent", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", timeout=130)
    assert aw.condition("open", NAMESPACE, "Archived")["reason"] == "Archiving"
    kept = workspace_folder("open") / uid("open")
    eventually("the session's start to be archived", lambda: (kept / "record.jsonl").exists() or None, timeout=60)
    done = aw.in_agent("open", NAMESPACE, FORGE, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == 16 and set(answers) <= {400, 404}, answers
    assert "forged" not in (kept / "record.jsonl").read_text() and not (kept / "complete.json").exists()
    refused = [line for line in aw.gateway_record("open", NAMESPACE, "archive") if line["verdict"] != "allowed"]
    assert not refused, f"it came to the gateway: {refused}"


def test_a_lost_pod_leaves_what_it_had_and_the_next_one_has_its_own(project):
    aw.wait_phase("open", NAMESPACE, "Running")
    first = uid("open")
    kept = workspace_folder("open") / first
    eventually("the session's start to be archived", lambda: (kept / "record.jsonl").exists() or None, timeout=60)
    # As a node that dies: nobody is asked to end anything.
    kubectl("delete", "pod", "open-agent", "-n", NAMESPACE, "--grace-period=0", "--force")

    def again() -> str | None:
        pod = kubectl("get", "pod", "open-agent", "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}", check=False).stdout
        return pod if pod and pod != first and aw.phase("open", NAMESPACE) == "Running" else None

    second = eventually("another pod to run", again, timeout=180)
    other = workspace_folder("open") / second
    eventually("the next session's start to be archived", lambda: (other / "record.jsonl").exists() or None, timeout=60)
    for folder in (kept, other):
        first_line = (folder / "record.jsonl").read_text().splitlines()[0]
        assert event_of(json.loads(first_line)) == "SessionStarted"


def test_replicas_of_the_gateway_come_and_go(project):
    """Both are replaced while a session runs; its record goes on where it was, once and whole."""
    kept = workspace_folder("open") / uid("open")
    kubectl("rollout", "restart", "deployment/palisade-gateway", "-n", GATEWAY)
    kubectl("rollout", "status", "deployment/palisade-gateway", "-n", GATEWAY, "--timeout=180s", timeout=190)
    kubectl("delete", "pod", "open-agent", "-n", NAMESPACE, "--timeout=120s", timeout=130)
    eventually("the session to be whole", lambda: (kept / "complete.json").exists() or None, timeout=60)
    assert_from_start_to_end((kept / "record.jsonl").read_text())
