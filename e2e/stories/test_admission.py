"""The admission guard: weakened Aider pods are rejected naming what is broken, everybody else passes."""

from __future__ import annotations

import json

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from e2e.harness import workspace as aw
from e2e.harness.pods import WEAKENED, deny_all, good_pod, plain_pod, weakened_pod
from e2e.harness.shell import TOOLS, apply, eventually, kubectl, run
from e2e.harness.world import World

NAMESPACE = "story-admission"


@pytest.fixture(scope="module", autouse=True)
def namespace(world: World):
    aw.create_namespace(NAMESPACE, None)
    apply(deny_all(NAMESPACE))


def create(core: client.CoreV1Api, pod: dict, dry_run: str | None = "All"):
    return core.create_namespaced_pod(NAMESPACE, pod, dry_run=dry_run)


def rejection(core: client.CoreV1Api, pod: dict) -> dict:
    with pytest.raises(ApiException) as caught:
        create(core, pod)
    assert caught.value.status == 403, caught.value.body
    return json.loads(caught.value.body)


def test_the_good_pod_passes(core: client.CoreV1Api):
    assert create(core, good_pod("good", NAMESPACE)).metadata.name == "good"


@pytest.mark.parametrize(("what", "control", "field", "breakage"), WEAKENED, ids=[entry[0].replace(" ", "-") for entry in WEAKENED])
def test_a_weakened_pod_is_rejected_naming_the_weakness(core: client.CoreV1Api, what, control, field, breakage):
    status = rejection(core, weakened_pod(NAMESPACE, breakage, "weak"))
    assert control in status["message"]
    assert field in status["message"]
    assert len(status["details"]["causes"]) >= 1


def test_all_weaknesses_come_in_one_message(core: client.CoreV1Api):
    pod = good_pod("weak", NAMESPACE)
    for _, _, _, breakage in WEAKENED[:5]:
        breakage(pod)
    message = rejection(core, pod)["message"]
    for _, control, _, _ in WEAKENED[1:5]:
        assert control in message


def test_a_disguised_pod_is_found(core: client.CoreV1Api):
    pod = plain_pod("disguised", NAMESPACE)
    pod["spec"]["containers"][0]["command"] = ["sh", "-c", "cd /src && exec python3 -m aider --yes"]
    assert "run-as-non-root" in rejection(core, pod)["message"]


def test_a_plain_pod_passes_untouched(core: client.CoreV1Api):
    created = create(core, plain_pod("nginx", NAMESPACE), dry_run=None)
    try:
        assert created.spec.containers[0].security_context is None
    finally:
        core.delete_namespaced_pod("nginx", NAMESPACE, grace_period_seconds=0)


def _workloads(pod: dict) -> list[tuple[str, str, dict]]:
    """The pod as the template of each kind that makes pods: its API path, the path of its template, the object."""
    meta = {"name": "made", "namespace": NAMESPACE}
    labels = {**pod["metadata"].get("labels", {}), "app": "made"}
    always = {key: value for key, value in pod["spec"].items() if key != "activeDeadlineSeconds"} | {"restartPolicy": "Always"}
    template = {"metadata": {"labels": labels}, "spec": always}
    job = {"template": {"metadata": {"labels": labels}, "spec": pod["spec"] | {"restartPolicy": "Never"}}}
    replicas = {"selector": {"matchLabels": {"app": "made"}}, "template": template}
    core, apps, batch = (f"/{path}/namespaces/{NAMESPACE}/" for path in ("api/v1", "apis/apps/v1", "apis/batch/v1"))
    return [
        (core + "podtemplates", "template.", {"metadata": meta, "template": template}),
        (core + "replicationcontrollers", "spec.template.", {"metadata": meta, "spec": {"selector": {"app": "made"}, "template": template}}),
        (apps + "deployments", "spec.template.", {"metadata": meta, "spec": replicas}),
        (apps + "replicasets", "spec.template.", {"metadata": meta, "spec": replicas}),
        (apps + "daemonsets", "spec.template.", {"metadata": meta, "spec": replicas}),
        (apps + "statefulsets", "spec.template.", {"metadata": meta, "spec": {**replicas, "serviceName": "made"}}),
        (batch + "jobs", "spec.template.", {"metadata": meta, "spec": job}),
        (batch + "cronjobs", "spec.jobTemplate.spec.template.", {"metadata": meta, "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}}),
    ]


def _post(path: str, body: dict) -> tuple[int, dict]:
    """A server-side dry run by kubectl, whose errors are the API server's own."""
    done = kubectl("create", "--raw", f"{path}?dryRun=All", "-f", "-", stdin=json.dumps(body), check=False)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {"message": done.stderr}


def test_whatever_would_make_a_weakened_pod_is_rejected_with_the_path_in_its_template():
    breakage = next(entry[3] for entry in WEAKENED if entry[1] == "no-privilege-escalation")
    for path, prefix, body in _workloads(weakened_pod(NAMESPACE, breakage, "weak")):
        code, answer = _post(path, body)
        assert code != 0, f"{path} was admitted"
        assert "workloads.palisade.dev" in answer["message"], (path, answer)
        assert f"{prefix}spec.containers[0].securityContext.allowPrivilegeEscalation" in answer["message"], (path, answer)
    for path, _, body in _workloads(plain_pod("plain", NAMESPACE)):
        code, answer = _post(path, body)
        assert code == 0, (path, answer)


def test_an_ephemeral_container_cannot_weaken_a_running_agent(core: client.CoreV1Api):
    core.create_namespaced_pod(NAMESPACE, good_pod("running", NAMESPACE))
    try:
        body = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "securityContext": {"privileged": True}}]}}
        with pytest.raises(ApiException) as caught:
            core.patch_namespaced_pod_ephemeralcontainers("running", NAMESPACE, body)
        assert caught.value.status == 403
        assert "not-privileged" in caught.value.body and "ephemeralContainers[0]" in caught.value.body
    finally:
        core.delete_namespaced_pod("running", NAMESPACE, grace_period_seconds=0)


def test_the_labels_stay_on(core: client.CoreV1Api):
    core.create_namespaced_pod(NAMESPACE, good_pod("labelled", NAMESPACE))
    try:
        for patch in (core.patch_namespaced_pod, core.patch_namespaced_pod_status):
            with pytest.raises(ApiException) as caught:
                patch("labelled", NAMESPACE, {"metadata": {"labels": {"palisade.dev/agent": None}}})
            assert caught.value.status == 403
            assert "agent-identity" in caught.value.body
        core.patch_namespaced_pod("labelled", NAMESPACE, {"metadata": {"labels": {"team": "a"}}})
    finally:
        core.delete_namespaced_pod("labelled", NAMESPACE, grace_period_seconds=0)


def test_a_namespace_can_ask_for_all_pods(core: client.CoreV1Api):
    aw.create_namespace("story-all", None, {"palisade.dev/enforce": "all"})
    pod = plain_pod("nginx", "story-all")

    def refused() -> bool:
        try:
            core.create_namespaced_pod("story-all", pod, dry_run="All")
        except ApiException as error:
            return error.status == 403 and "run-as-non-root" in error.body
        return False

    assert eventually("the namespace mode to be known", refused, timeout=20)


def test_the_installation_tries_itself(world: World):
    """`helm test` makes a workspace, a weak Aider pod and an ordinary one as dry runs, and leaves neither them nor its rights."""
    done = run([str(TOOLS / "helm"), "test", "palisade", "--namespace", "palisade-system", "--timeout", "120s"], timeout=150)
    assert "Succeeded" in done.stdout
    for kind, namespace in (("role", "default"), ("rolebinding", "default"), ("serviceaccount", "palisade-system")):
        left = kubectl("get", kind, "palisade-test", "-n", namespace, "--ignore-not-found", "-o", "name")
        assert left.stdout == ""
