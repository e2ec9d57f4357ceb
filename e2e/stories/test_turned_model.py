"""A prompt injection's whole way: the model replies with hostile edits, Aider applies them and runs the test command, and nothing gets through."""

from __future__ import annotations

import json
import pytest

from e2e.cluster import settings
from e2e.harness import redteam, turned_model
from e2e.harness import workspace as aw
from e2e.harness.shell import apply, kubectl_json
from e2e.harness.turned_model import ATTEMPTS, Attempt
from e2e.harness.world import FILES, World

NAMESPACE = "story-turned-model"
NAME = "turned"


@pytest.fixture(scope="module")
def session(world: World) -> redteam.Session:
    where = {**redteam.addresses(), "metadata": f"{settings.METADATA_IP}:80"}
    files = {**FILES, turned_model.CHECKS: turned_model.BEFORE + "\n", "where.json": json.dumps(where)}
    project = world.project("turned-model", files)
    aw.create_namespace(NAMESPACE, project.token)
    task = {"message": turned_model.REQUEST, "files": [turned_model.CHECKS], "testCommand": ["python3", turned_model.CHECKS]}
    apply(aw.manifest(NAME, NAMESPACE, project.url, message=None, task=task))
    workspace = aw.wait_phase(NAME, NAMESPACE, "Succeeded", timeout=240)
    log = redteam.pod_log(NAME, NAMESPACE, "aider")
    lines = [json.loads(line.removeprefix("TURNED ")) for line in log.splitlines() if line.startswith("TURNED {")]
    told = {one["name"]: redteam.Told(one["got"], one["detail"], one["start"], one["end"], None) for one in lines}
    return redteam.Session(workspace, log, told, redteam.read_record(NAME, NAMESPACE))


def test_the_hostile_checks_ran_to_their_end(session: redteam.Session):
    assert "TURNED-END" in session.lines(), session.log[-3000:]
    assert set(session.told) == {attempt.name for attempt in ATTEMPTS}


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_attempt(session: redteam.Session, attempt: Attempt):
    told = session.told[attempt.name]
    assert told.got in attempt.answers, told
    refused = [session.own(event) for event in session.during(attempt.name, "Refused")]
    assert {event["rule"] for event in refused} == ({attempt.rule} if attempt.rule else set()), f"on record: {refused}; it said: {told.detail}"
    assert all(event["enforced"] for event in refused)
    found = [session.own(event)["id"] for event in session.during(attempt.name, "Finding")]
    assert set(found) == set(attempt.findings), f"on record: {found}; it said: {told.detail}"


def test_no_hook_filter_or_shell_block_ran(session: redteam.Session):
    ran = [event["process"]["file"]["path"] for event in session.events("ExecStarted")]
    assert ran and not [path for path in ran if path.startswith("/workspace") or path.endswith(("/curl", "/touch", "/perl"))], ran


def test_what_a_person_sees_is_text(session: redteam.Session):
    assert "\x1b]" not in session.log and "\u202e" not in session.log


def test_only_the_one_branch_was_pushed(session: redteam.Session, world: World):
    project = world.project("turned-model")
    assert turned_model.BEFORE in project.file_at("main", turned_model.CHECKS)
    assert session.workspace["status"]["branch"] == f"palisade/{NAME}"


def test_edits_outside_the_repository_reach_nobody(world: World):
    project = world.project("turned-outside")
    namespace = "story-turned-outside"
    aw.create_namespace(namespace, project.token)
    apply(aw.manifest("outside", namespace, project.url, message=turned_model.OUTSIDE_REQUEST))
    workspace = redteam.wait_failed("outside", namespace, timeout=240)  # however it ends
    assert workspace["status"].get("commits", 0) == 0, workspace["status"]
    record = redteam.read_record("outside", namespace)
    assert {event["metadata"]["product"]["name"] for event in record} == {"palisade-guard"}
    assert [event["metadata"]["sequence"] for event in record] == list(range(1, len(record) + 1)), "the record was written to"
    assert record[-1]["unmapped"]["palisade"]["event"] == "SessionEnded"
    assert "nothing happened" not in json.dumps(record)
    aw.delete("outside", namespace)


def test_the_platform_team_sees_it(session: redteam.Session):
    audit = session.workspace["status"]["audit"]
    assert audit["deniedConnects"] >= 5 and audit["deniedExecs"] >= 2, audit
    events = kubectl_json("get", "events.events.k8s.io", "-n", NAMESPACE)["items"]
    assert any(event["reason"] == "Refused" and event["type"] == "Warning" for event in events)
