"""Pods that wait in a pool: a session takes one and starts sooner than one whose pod is made for it; before that nothing is to be had from one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, World

NAMESPACE = "story-pools"
POOL = "warm"
AGENT = {
    "model": "gpt-4o",
    "resources": {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "2Gi"},
    },
}


def template() -> dict[str, Any]:
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentWorkspaceTemplate",
        "metadata": {"name": "python", "namespace": NAMESPACE},
        "spec": {"workspace": {"agent": AGENT, "lifecycle": {"deadline": "10m"}}, "overridable": ["agent.resources"]},
    }


def pool(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentWorkspacePool",
        "metadata": {"name": POOL, "namespace": NAMESPACE},
        "spec": {"templateRef": {"name": "python"}, "replicas": replicas},
    }


def session(name: str, url: str, **spec: Any) -> dict[str, Any]:
    """One that leaves to the template what that sets."""
    out = aw.manifest(name, NAMESPACE, url, message=EDIT_REQUEST, files=[EDIT_FILE], templateRef={"name": "python"}, **spec)
    for field in ("agent", "lifecycle"):
        if field not in spec:
            del out["spec"][field]
    return out


def status() -> dict[str, Any]:
    return kubectl_json("get", "agentworkspacepool", POOL, "-n", NAMESPACE).get("status", {})


def await_waiting(count: int) -> list[dict[str, Any]]:
    """As many can be taken at once, and there are no others, nor any that end; returns them."""

    def waiting() -> list[dict[str, Any]] | None:
        if (status().get("readyReplicas"), status().get("replicas")) != (count, count):
            return None
        pods = kubectl_json("get", "pods", "-n", NAMESPACE, "-l", f"palisade.dev/pool={POOL}")["items"]
        return pods if len(pods) == count else None

    return eventually(f"{count} pods that wait", waiting, timeout=180)


def started(pod: str) -> bool:
    """Guard has put the agent's start on record."""
    return '"aider"' in kubectl("logs", pod, "-n", NAMESPACE, "-c", "recorder", "--tail=-1", check=False).stdout


def run(manifest: dict[str, Any], warm: bool) -> tuple[float, float]:
    """Seconds from the request until the pod is the session's, and until its agent has started."""
    name = manifest["metadata"]["name"]
    began = time.monotonic()
    apply(manifest)

    def own_pod() -> str | None:
        pod = aw.get(name, NAMESPACE).get("status", {}).get("podName")
        if not pod:
            return None
        found = kubectl("get", "pod", pod, "-n", NAMESPACE, "-o", "jsonpath={.metadata.labels.palisade\\.dev/workspace}", check=False).stdout
        return pod if found == name else None

    pod = eventually(f"{name} has its pod", own_pod, timeout=60)
    taken = time.monotonic() - began
    eventually(f"{name} has started", lambda: started(pod), timeout=120)
    first = time.monotonic() - began
    assert ("warmPod" in aw.get(name, NAMESPACE)["status"]) == warm
    return taken, first


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("pools")
    aw.create_namespace(NAMESPACE, project.token)
    kubectl("delete", "agentworkspacepools", "--all", "-n", NAMESPACE, "--timeout=150s", timeout=180)
    apply(template(), pool(2))
    await_waiting(2)
    yield project
    kubectl("delete", "agentworkspacepools,agentworkspaces", "--all", "-n", NAMESPACE, "--timeout=150s", timeout=180)


def test_before_it_is_taken_nothing_is_to_be_had(project):
    pod = await_waiting(2)[0]
    name = pod["metadata"]["name"]
    assert {"config", "policy"} == {v["name"] for v in pod["spec"]["volumes"] if "configMap" in v}
    assert not [v for v in pod["spec"]["volumes"] if "secret" in v]
    text = str(kubectl_json("get", "configmap", name, "-n", NAMESPACE)["data"])
    for word in (project.url, project.token, "relay.json", "courier.json", EDIT_REQUEST):
        assert word not in text
    for arguments in (("exec", name, "-c", "courier", "--", "true"), ("attach", name, "-c", "relay"), ("debug", name, "--image=busybox", "--", "true")):
        refused = kubectl(*arguments[:2], "-n", NAMESPACE, *arguments[2:], check=False, timeout=60)
        assert refused.returncode != 0 and "waits in pool" in refused.stderr + refused.stdout, arguments
    for change in ("palisade.dev/workspace=mine", "palisade.dev/pool-"):
        refused = kubectl("label", "pod", name, "-n", NAMESPACE, change, check=False)
        assert refused.returncode != 0 and "only the operator" in refused.stderr, change
    # The preflight has passed, and the agent's container is not even made.
    statuses = {one["name"]: one["state"] for one in pod["status"]["initContainerStatuses"]}
    assert statuses["guard"]["terminated"]["exitCode"] == 0
    assert "running" in statuses["checkout"]
    assert "waiting" in pod["status"]["containerStatuses"][0]["state"]


def test_a_session_starts_sooner_and_does_its_work(project):
    cold = run(session("cold", project.url, agent={**AGENT, "resources": {**AGENT["resources"], "requests": {"cpu": "110m", "memory": "256Mi"}}}), warm=False)
    await_waiting(2)
    warm = run(session("quick", project.url), warm=True)
    print(f"\ncold: pod after {cold[0]:.1f} s, agent after {cold[1]:.1f} s; from the pool: taken after {warm[0]:.1f} s, agent after {warm[1]:.1f} s")
    assert warm[1] < cold[1]
    aw.wait_phase("quick", NAMESPACE, "Succeeded", timeout=240)
    assert EDITED_LINE in project.file_at("palisade/quick", EDIT_FILE)
    # Another waits in its place, and the one that was used is no pool's any more.
    used = aw.get("quick", NAMESPACE)["status"]["podName"]
    assert used not in {pod["metadata"]["name"] for pod in await_waiting(2)}


def test_it_scales_and_refreshes(project):
    kubectl("scale", "agentworkspacepool", POOL, "-n", NAMESPACE, "--replicas=3")
    before = {pod["metadata"]["name"] for pod in await_waiting(3)}
    kubectl("scale", "agentworkspacepool", POOL, "-n", NAMESPACE, "--replicas=1")
    after = {pod["metadata"]["name"] for pod in await_waiting(1)}
    assert after < before
    changed = template()
    changed["spec"]["workspace"]["agent"] = {**AGENT, "resources": {**AGENT["resources"], "limits": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "2Gi"}}}
    apply(changed)
    eventually("a new one", lambda: not after & {pod["metadata"]["name"] for pod in await_waiting(1)}, timeout=120)


def test_the_pools_end_spares_what_was_taken(project):
    apply(template())
    await_waiting(1)
    run(session("late", project.url), warm=True)
    kubectl("delete", "agentworkspacepool", POOL, "-n", NAMESPACE, "--timeout=120s", timeout=150)
    assert not kubectl_json("get", "pods", "-n", NAMESPACE, "-l", f"palisade.dev/pool={POOL}")["items"]
    aw.wait_phase("late", NAMESPACE, "Succeeded", timeout=240)
