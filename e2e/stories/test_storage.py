"""A workspace with a volume of its own: what is on it outlives suspension and a lost pod, and with retain: Retain the workspace itself."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from e2e.cluster import settings
from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import World

NAMESPACE = "story-storage"
NAME = "kept"
CLAIM = f"{NAME}-workspace"
DISK = settings.STATE / "volumes" / NAME
WRITE = "import pathlib; pathlib.Path('draft.txt').write_text('half a thought\\n')"
READ = "import pathlib; print(pathlib.Path('draft.txt').read_text(), end='')"


def volume() -> dict[str, Any]:
    """A disk of the node, as an administrator would offer it: root's, until the kubelet gives it the pod's group."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"story-{NAME}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": CLAIM},
            "local": {"path": str(DISK)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [settings.NODE]}]}]}
            },
        },
    }


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("storage")
    aw.create_namespace(NAMESPACE, project.token)
    kubectl("delete", "pvc", "--all", "-n", NAMESPACE, "--timeout=60s")
    kubectl("delete", "pv", f"story-{NAME}", "--ignore-not-found", "--timeout=60s")
    shutil.rmtree(DISK, ignore_errors=True)
    DISK.mkdir(parents=True)
    lifecycle = {"deadline": "10m", "ttlAfterFinished": "1h", "retain": "Retain"}
    apply(volume(), aw.manifest(NAME, NAMESPACE, project.url, message=None, storage={"size": "1Gi", "storageClassName": ""}, lifecycle=lifecycle))
    aw.wait_phase(NAME, NAMESPACE, "Running")
    yield project
    aw.delete(NAME, NAMESPACE)
    kubectl("delete", "pvc", CLAIM, "-n", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    kubectl("delete", "pv", f"story-{NAME}", "--ignore-not-found", "--timeout=60s")


def suspend(value: bool) -> None:
    kubectl("patch", "agentworkspace", NAME, "-n", NAMESPACE, "--type=merge", "-p", f'{{"spec":{{"lifecycle":{{"suspend":{str(value).lower()}}}}}}}')


def draft() -> str:
    done = aw.in_agent(NAME, NAMESPACE, READ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_agent_writes_to_its_volume(project):
    wrote = aw.in_agent(NAME, NAMESPACE, WRITE)
    assert wrote.returncode == 0, wrote.stderr
    assert draft() == "half a thought\n"
    pod = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume] == [CLAIM]


def test_a_suspended_session_finds_its_draft_again(project):
    suspend(True)
    aw.wait_phase(NAME, NAMESPACE, "Suspended")
    kubectl("wait", "--for=delete", f"pod/{NAME}-agent", "-n", NAMESPACE, "--timeout=90s")
    eventually("a suspended session's token to be removed", lambda: not aw.gateway_tokens(NAME, NAMESPACE), timeout=30)
    suspend(False)
    aw.wait_phase(NAME, NAMESPACE, "Running")
    assert draft() == "half a thought\n"


def test_a_lost_pod_comes_back_with_its_draft(project):
    first = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)["metadata"]["uid"]
    kubectl("delete", "pod", f"{NAME}-agent", "-n", NAMESPACE, "--timeout=90s")

    def again() -> bool:
        pod = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
        return pod["metadata"]["uid"] != first and aw.phase(NAME, NAMESPACE) == "Running"

    eventually("another pod to run", again, timeout=120)
    assert draft() == "half a thought\n"
    assert aw.get(NAME, NAMESPACE)["status"]["restarts"] == 1


def test_a_retained_volume_outlives_the_workspace(project):
    aw.delete(NAME, NAMESPACE)
    claim = kubectl_json("get", "pvc", CLAIM, "-n", NAMESPACE)
    assert claim["status"]["phase"] == "Bound"
    assert not claim["metadata"].get("ownerReferences")
    assert (next(DISK.rglob("draft.txt"))).read_text() == "half a thought\n"
    # Whoever comes later under the same name does not get what another session left.
    apply(aw.manifest(NAME, NAMESPACE, project.url, message=None, storage={"size": "1Gi", "storageClassName": ""}))
    refused = aw.wait_condition(NAME, NAMESPACE, "Accepted", "False", "NameConflict")
    assert CLAIM in refused["message"]
