"""A session's time: ended at its deadline, deleted after its ttl, put right when somebody bends it, its last commit delivered when it is ended."""

from __future__ import annotations

import pytest

from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, World

NAMESPACE = "story-lifecycle"
COMMIT = (
    "import pathlib,subprocess; pathlib.Path('by-hand.txt').write_text('work\\n');"
    "subprocess.run(['git','add','by-hand.txt'],check=True); subprocess.run(['git','commit','-q','-m','By hand'],check=True)"
)


@pytest.fixture(scope="module")
def project(world: World):
    """The workspaces of these stories, all under way at once: one with the shortest deadline there is, one that goes at once, one to bend."""
    project = world.project("lifecycle")
    aw.create_namespace(NAMESPACE, project.token)
    apply(
        aw.manifest("short", NAMESPACE, project.url, message=None, lifecycle={"deadline": "1m", "ttlAfterFinished": "1h"}),
        aw.manifest(
            "brief", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE], lifecycle={"deadline": "10m", "ttlAfterFinished": "3s"}
        ),
        aw.manifest("bent", NAMESPACE, project.url, message=None),
    )
    aw.wait_phase("short", NAMESPACE, "Running")
    assert aw.in_agent("short", NAMESPACE, COMMIT).returncode == 0
    aw.wait_phase("bent", NAMESPACE, "Running")
    return project


def exists(kind: str, name: str) -> bool:
    return kubectl("get", kind, name, "-n", NAMESPACE, check=False).returncode == 0


def test_a_finished_workspace_goes_after_its_ttl(project):
    eventually("the finished workspace to delete itself", lambda: not exists("agentworkspace", "brief"), timeout=120)
    eventually("its pod to go too", lambda: not exists("pod", "brief-agent"), timeout=60)
    assert "palisade/brief" in project.branches(), "it went without having done its work"


def test_a_bent_network_policy_is_put_right(project):
    wanted = kubectl_json("get", "networkpolicy", "bent-agent", "-n", NAMESPACE)["spec"]
    bend = ("patch", "networkpolicy", "bent-agent", "-n", NAMESPACE, "--type=json", "-p", '[{"op":"add","path":"/spec/egress/-","value":{}}]')
    refused = kubectl(*bend, check=False)
    assert refused.returncode != 0 and "only the operator changes" in refused.stderr, refused.stderr
    # Whoever gets past the webhook all the same meets the operator.
    as_operator = "--as=system:serviceaccount:palisade-system:palisade-operator"
    kubectl(*bend, as_operator)
    eventually("the added rule to go", lambda: kubectl_json("get", "networkpolicy", "bent-agent", "-n", NAMESPACE)["spec"] == wanted, timeout=30)
    kubectl("delete", "networkpolicy", "bent-agent", "-n", NAMESPACE, as_operator)
    eventually("the deleted policy to return", lambda: exists("networkpolicy", "bent-agent"), timeout=30)
    assert kubectl_json("get", "networkpolicy", "bent-agent", "-n", NAMESPACE)["spec"] == wanted


def test_the_last_commit_is_delivered_when_the_session_is_deleted(project):
    assert aw.in_agent("bent", NAMESPACE, COMMIT).returncode == 0
    aw.delete("bent", NAMESPACE)
    assert project.file_at("palisade/bent", "by-hand.txt") == "work\n"
    eventually("nothing to be left", lambda: not exists("pod", "bent-agent") and not aw.gateway_tokens("bent", NAMESPACE), timeout=60)


def test_a_session_ends_at_its_deadline_with_its_work_delivered(project):
    workspace = aw.wait_phase("short", NAMESPACE, "Expired", timeout=240)
    told = " ".join(entry["message"] for entry in workspace["status"]["conditions"])
    assert "deadline" in told.lower()
    assert project.file_at("palisade/short", "by-hand.txt") == "work\n"
    eventually("the token to be removed", lambda: not aw.gateway_tokens("short", NAMESPACE), timeout=30)
    aw.delete("short", NAMESPACE)
