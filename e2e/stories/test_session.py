"""The main job: an AgentWorkspace becomes a hardened pod in which Aider edits, commits and pushes; deleting it leaves nothing."""

from __future__ import annotations

import pytest
from kubernetes import client

from e2e.harness import workspace as aw
from e2e.harness.shell import eventually, kubectl, kubectl_json
from e2e.harness.world import COMMIT_MESSAGE, EDIT_FILE, EDIT_REQUEST, EDITED_LINE, LLM_KEY, World

NAMESPACE = "story-session"
NAME = "fix-login"


@pytest.fixture(scope="module")
def finished(world: World):
    """The workspace of the story, run to its end once for all tests here."""
    project = world.project("session")
    aw.create_namespace(NAMESPACE, project.token)
    kubectl("apply", "-f", "-", stdin=world.json(aw.manifest(NAME, NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE])))
    workspace = aw.wait_phase(NAME, NAMESPACE, "Succeeded", timeout=240)
    yield project, workspace


def test_the_branch_arrives_with_the_change(finished, world: World):
    project, workspace = finished
    branch = f"palisade/{NAME}"
    assert EDITED_LINE in project.file_at(branch, EDIT_FILE)
    assert EDITED_LINE not in project.file_at("main", EDIT_FILE)
    assert workspace["status"]["commits"] >= 1
    assert sorted(project.branches()) == ["main", branch]


def test_the_commit_is_the_agents(finished):
    project, _ = finished
    commit = project.commits(f"palisade/{NAME}")[0]
    assert commit["commit"]["message"].startswith(COMMIT_MESSAGE)
    assert commit["commit"]["author"]["name"].startswith("Aider")
    assert len(project.commits(f"palisade/{NAME}")) == len(project.commits("main")) + finished[1]["status"]["commits"]


def test_conditions_and_events_tell_the_story(finished):
    _, workspace = finished
    conditions = {entry["type"]: entry for entry in workspace["status"]["conditions"]}
    assert conditions["Accepted"]["status"] == "True"
    assert all(entry["message"] and entry["reason"] for entry in conditions.values())
    events = kubectl_json("get", "events.events.k8s.io", "-n", NAMESPACE)["items"]
    mine = {entry["reason"] for entry in events if entry["regarding"]["kind"] == "AgentWorkspace"}
    assert mine, "no event tells of the workspace"


def test_the_token_is_gone_once_the_session_is_over(finished):
    eventually("the gateway's copy of the token to be removed", lambda: not aw.gateway_tokens(NAME, NAMESPACE), timeout=30)
    assert kubectl("get", "secret", f"{NAME}-git", "-n", NAMESPACE, check=False).returncode != 0


def test_the_pod_was_what_the_policy_asks(finished, core: client.CoreV1Api):
    pod = core.read_namespaced_pod(f"{NAME}-agent", NAMESPACE)
    assert pod.spec.host_users is False
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.enable_service_links is False
    secret = {volume.name for volume in pod.spec.volumes if volume.secret or volume.projected}
    assert secret == {"identity"}, "there is a Secret in the pod"
    holders = [
        container.name
        for container in [*pod.spec.init_containers, *pod.spec.containers]
        if any(mount.name in secret for mount in container.volume_mounts or [])
    ]
    assert holders == ["relay"]


def test_the_operator_never_logs_the_token(finished):
    project, _ = finished
    for deployment in ("palisade-operator", "palisade-webhook"):
        logs = kubectl("logs", "-n", "palisade-system", f"deployment/{deployment}", "--tail=-1").stdout
        assert logs.strip()
        assert project.token not in logs
    record = aw.gateway_logs()
    assert record.strip()
    assert project.token not in record and LLM_KEY not in record
    for container in ("relay", "courier", "checkout", "aider"):
        assert project.token not in kubectl("logs", f"{NAME}-agent", "-n", NAMESPACE, "-c", container).stdout


def test_deleting_the_workspace_leaves_nothing_behind(finished, core: client.CoreV1Api):
    aw.delete(NAME, NAMESPACE)

    def leftovers() -> list[str]:
        kinds = "pods,secrets,configmaps,serviceaccounts,networkpolicies,agentworkspaces"
        found = kubectl("get", kinds, "-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=palisade", "-o", "name").stdout.split()
        named = kubectl("get", "pods,agentworkspaces,networkpolicies", "-n", NAMESPACE, "-o", "name").stdout.split()
        return found + named

    eventually("nothing to be left", lambda: not leftovers(), timeout=60)
    assert core.read_namespaced_secret("git-token", NAMESPACE), "the user's own Secret stays"
