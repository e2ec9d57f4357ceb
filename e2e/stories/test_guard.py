"""The guard as a platform team runs it: modes, exceptions, AgentPolicies, and the commands that look at a cluster."""

from __future__ import annotations

import datetime
import json
import subprocess

import pytest
from e2e.harness import workspace as aw
from e2e.harness.pods import WEAKENED, deny_all, good_pod, weakened_pod
from e2e.harness.shell import ROOT, apply, eventually, kubectl, kubectl_json, run
from e2e.harness.world import World

NAMESPACE = "story-guard"
WRITABLE = next(breakage for _, control, _, breakage in WEAKENED if control == "read-only-root-filesystem")


@pytest.fixture(scope="module", autouse=True)
def namespace(world: World):
    aw.create_namespace(NAMESPACE, None, {"story": "guard"})
    apply(deny_all(NAMESPACE))
    kubectl("delete", "hardeningexceptions,agentpolicies", "-l", "story=guard")
    yield
    kubectl("delete", "hardeningexceptions,agentpolicies", "-l", "story=guard")
    kubectl("delete", "pods", "--all", "-n", NAMESPACE, "--wait=false")


@pytest.fixture
def labelled():
    """Sets labels of the namespace, and takes them off afterwards."""
    given: list[str] = []

    def label(*pairs: str) -> None:
        given.extend(pair.split("=")[0] for pair in pairs)
        kubectl("label", "namespace", NAMESPACE, "--overwrite", *pairs)

    yield label
    kubectl("label", "namespace", NAMESPACE, *(key + "-" for key in given))


def make(pod: dict, *arguments: str) -> subprocess.CompletedProcess[str]:
    return kubectl("create", "-f", "-", *arguments, stdin=json.dumps(pod), check=False)


def weak(name: str = "weak") -> dict:
    return weakened_pod(NAMESPACE, WRITABLE, name)


def test_warn_tells_and_lets_pass(labelled):
    labelled("palisade.dev/mode=warn")
    told = eventually("the mode to be known", lambda: (done := make(weak(), "--dry-run=server")).returncode == 0 and done, timeout=20)
    assert "Warning: palisade would reject this: [read-only-root-filesystem]" in told.stderr


def test_audit_lets_pass_without_a_word(labelled):
    labelled("palisade.dev/mode=audit")
    told = eventually("the mode to be known", lambda: (done := make(weak(), "--dry-run=server")).returncode == 0 and done, timeout=20)
    assert told.stderr == ""


def test_one_control_warns_while_the_others_hold(labelled):
    labelled("control.palisade.dev/read-only-root-filesystem=warn")
    eventually("the mode to be known", lambda: make(weak(), "--dry-run=server").returncode == 0, timeout=20)
    worse = weak()
    worse["spec"]["containers"][0]["securityContext"]["runAsUser"] = 0
    refused = make(worse, "--dry-run=server")
    assert refused.returncode != 0 and "[non-zero-ids]" in refused.stderr
    assert "Warning: palisade would reject this: [read-only-root-filesystem]" in refused.stderr


def exception(name: str, lasts: datetime.timedelta, control: str = "read-only-root-filesystem") -> dict:
    until = datetime.datetime.now(datetime.UTC) + lasts
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "HardeningException",
        "metadata": {"name": name, "labels": {"story": "guard"}},
        "spec": {
            "namespaces": [NAMESPACE],
            "podSelector": {"matchLabels": {"palisade.dev/agent": "aider"}},
            "controls": [control],
            "reason": "the image writes to /opt until it is rebuilt",
            "ticket": "OPS-1234",
            "approver": "jane@example.com",
            "expires": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    }


def test_an_exception_lets_its_control_pass_leaves_an_event_and_ends_by_itself():
    assert make(weak(), "--dry-run=server").returncode != 0
    apply(exception("story-guard", datetime.timedelta(seconds=45)))
    uid = kubectl_json("get", "hardeningexception", "story-guard")["metadata"]["uid"]
    eventually("the exception to be known", lambda: make(weak(), "--dry-run=server").returncode == 0, timeout=20)
    worse = weak()
    worse["spec"]["containers"][0]["securityContext"]["runAsUser"] = 0
    refused = make(worse, "--dry-run=server")
    assert refused.returncode != 0 and "[non-zero-ids]" in refused.stderr
    assert "read-only-root-filesystem" not in refused.stderr

    def used() -> list[str]:
        events = kubectl_json("get", "events.events.k8s.io", "-A")["items"]
        about = [e for e in events if e.get("reason") == "ExceptionUsed" and e["regarding"].get("uid") == uid]
        return [event["note"] for event in about]

    assert not used(), "a dry run left an event"
    assert make(weak("excepted")).returncode == 0
    notes = eventually("the event of its use", used, timeout=30)
    assert "excepted" in notes[0] and "read-only-root-filesystem" in notes[0]
    eventually("the exception to end", lambda: make(weak(), "--dry-run=server").returncode != 0, timeout=90, interval=1)


def test_an_exception_that_makes_no_sense_is_refused_with_its_field():
    wrong = exception("story-wrong", datetime.timedelta(hours=1), control="read-only-rootfs")
    done = kubectl("apply", "-f", "-", stdin=json.dumps(wrong), check=False)
    assert done.returncode != 0 and "spec.controls" in done.stderr and "read-only-rootfs" in done.stderr


def test_an_agent_policy_bounds_pods_and_workspaces(world: World):
    project = world.project("guard")
    wide = aw.manifest("wide", NAMESPACE, project.url, message=None, lifecycle={"deadline": "2h"})

    def try_workspace() -> subprocess.CompletedProcess[str]:
        return kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(wide), check=False)

    assert try_workspace().returncode == 0
    policy = {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": "story-guard", "labels": {"story": "guard"}},
        "spec": {
            "namespaceSelector": {"matchLabels": {"story": "guard"}},
            "allowedRegistries": ["registry.example.com/elsewhere"],
            "allowedGitHosts": ["git.example.com"],
            "maxLifetime": "1h",
        },
    }
    apply(policy)
    refused = eventually("the policy to be known", lambda: (done := try_workspace()).returncode != 0 and done, timeout=20)
    assert "spec.repository.url" in refused.stderr and "spec.lifecycle.deadline" in refused.stderr
    pod = make(good_pod("elsewhere", NAMESPACE), "--dry-run=server")
    assert pod.returncode != 0 and "[image-source]" in pod.stderr
    kubectl("delete", "agentpolicy", "story-guard")
    eventually("the policy to be gone", lambda: try_workspace().returncode == 0, timeout=20)


def palisade(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run([str(ROOT / "build/release/bin/palisade"), *arguments], check=False)


def test_scan_finds_what_ran_before_the_guard(labelled):
    labelled("palisade.dev/mode=audit")
    eventually("the pod to be let in", lambda: make(weak("standing")).returncode == 0, timeout=20)
    kubectl("label", "namespace", NAMESPACE, "palisade.dev/mode-")
    done = palisade("scan", "-n", NAMESPACE, "-o", "json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "standing" in done.stdout and "read-only-root-filesystem" in done.stdout
    kubectl("delete", "pod", "standing", "-n", NAMESPACE, "--wait=false")
    labelled("palisade.dev/mode=enforce")


def test_doctor_finds_the_guard_whole_and_a_bent_one():
    whole = palisade("doctor", "-o", "json")
    checks = json.loads(whole.stdout)
    assert "admission" in whole.stdout.lower(), whole.stdout
    original = kubectl_json("get", "validatingwebhookconfiguration", "palisade-webhook")
    kubectl("patch", "validatingwebhookconfiguration", "palisade-webhook", "--type=json", "-p", '[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]')
    try:
        bent = palisade("doctor", "-o", "json")
        assert bent.returncode == 1
        assert "failurePolicy" in bent.stdout
        assert json.loads(bent.stdout) != checks
    finally:
        policy = json.dumps([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": original["webhooks"][0]["failurePolicy"]}])
        kubectl("patch", "validatingwebhookconfiguration", "palisade-webhook", "--type=json", "-p", policy)
