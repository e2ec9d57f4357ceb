"""Every way round the guard that we know of, against the real API server: each refused with its reason, each beside a benign
twin that passes. The attempts are data: e2e/harness/evasions*.py."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from kubernetes import client

from e2e.harness import evasions, evasions_around, evasions_pods
from e2e.harness.evasions import AGENT, BOUNDED, CORE, NETWORK, OPEN, PALISADE, SPACE, WORKSPACE, Attempt, Object, Request
from e2e.harness.shell import ROOT, eventually

GIT_SECRET = f"{WORKSPACE}-git"
VOLUME = f"{WORKSPACE}-workspace"

CHAPTERS: dict[str, list[Attempt]] = {
    "weakened pods": evasions_pods.weakened(),
    "what makes pods": evasions_pods.made_by_workloads(),
    "disguises": evasions_pods.disguised(),
    "running pods": evasions_pods.changed_while_running(),
    "marks": evasions_around.marks(),
    "bindings": evasions_around.bindings(),
    "sessions": evasions_around.sessions(),
    "network": evasions_around.network(),
    "a workspace's objects": evasions_around.owned_objects(GIT_SECRET),
    "a workspace's volume": evasions_around.volumes(VOLUME),
    "rights": evasions_around.rights(),
    "namespaces": evasions_around.namespaces(),
    "Palisade's own objects": evasions_around.own_objects(),
    "workspaces": evasions_around.workspaces(),
}
ATTEMPTS = [pytest.param(attempt, id=f"{chapter}: {attempt.name}".replace(" ", "-")) for chapter, all_of in CHAPTERS.items() for attempt in all_of]


class Refused(Exception):
    """What the API server answered instead of doing it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Cluster:
    """The official client, asked as any user and for a dry run where there is one."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    def ask(self, request: Request, *, dry_run: bool = True) -> Any:
        headers = {"Accept": "application/json", "Content-Type": request.content_type}
        if request.user is not None:
            headers |= {"Impersonate-User": request.user, "Impersonate-Group": "system:authenticated"}
        query = list(request.query)
        if dry_run and not request.connect and request.method != "GET":
            query.append(("dryRun", "All"))
        call = self._api.param_serialize(
            request.method, request.path, query_params=query, header_params=headers, body=request.body, auth_settings=["BearerToken"]
        )
        answer = self._api.call_api(*call)
        text = (answer.read() or b"").decode(errors="replace")
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, _message(text))
        return json.loads(text)

    def get(self, path: str) -> Any:
        return self.ask(Request("GET", path, user=None))


def _message(body: Any) -> str:
    try:
        return json.loads(body).get("message", "")
    except (TypeError, ValueError):
        return str(body)


def _plural(found: dict[str, Any]) -> str:
    plurals = {"AgentPolicy": "agentpolicies", "NetworkPolicy": "networkpolicies", "RuntimeClass": "runtimeclasses"}
    return plurals.get(found["kind"], found["kind"].lower() + "s")


def _path(found: dict[str, Any]) -> str:
    base = f"/api/{found['apiVersion']}" if "/" not in found["apiVersion"] else f"/apis/{found['apiVersion']}"
    space = found["metadata"].get("namespace")
    return f"{base}/namespaces/{space}/{_plural(found)}" if space else f"{base}/{_plural(found)}"


@pytest.fixture(scope="module")
def cluster(core: client.CoreV1Api) -> Cluster:
    """The scene set; what an earlier run left goes first."""
    cluster = Cluster(core.api_client)
    _clear(cluster)
    for found in evasions.scene():
        last: list[Refused] = []

        def made(found: dict[str, Any] = found, last: list[Refused] = last) -> bool:
            try:
                cluster.ask(Request("POST", _path(found), found, user=None), dry_run=False)
            except Refused as refusal:
                # A webhook that has not seen the deny-all policy yet, or an account that is not there yet, comes later.
                last[:] = [refusal]
                return refusal.status == 409 and not found["metadata"].get("namespace")
            return True

        try:
            eventually(f"{found['kind']} {found['metadata']['name']}", made, timeout=60)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {last}") from None

    def ready() -> bool:
        try:
            pod = cluster.get(f"{CORE}/pods/{AGENT}")
        except Refused:
            return False
        return not pod["spec"].get("schedulingGates")

    eventually("the workspace's pod", ready, timeout=90)
    yield cluster
    _clear(cluster)


def _clear(cluster: Cluster) -> None:
    def gone() -> bool:
        left = False
        # The workspace first: while it lives what belongs to it cannot go.
        for path in (f"{PALISADE}/namespaces/{SPACE}/agentworkspaces", f"{CORE}/pods"):
            try:
                cluster.ask(Request("DELETE", path, query=(("gracePeriodSeconds", "0"),), user=None), dry_run=False)
                left = left or bool(cluster.get(path)["items"])
            except Refused as refusal:
                if refusal.status != 404:
                    left = True
        return not left

    eventually("the scene to be empty", gone, timeout=120)
    spaces = [f"/api/v1/namespaces/{name}" for name in (SPACE, OPEN, BOUNDED)]
    for path in (*spaces, f"{PALISADE}/agentpolicies/{BOUNDED}", f"{evasions.RBAC}/clusterrolebindings/story-evasion-tenant"):
        try:
            cluster.ask(Request("DELETE", path, user=None), dry_run=False)
        except Refused as refusal:
            assert refusal.status == 404, refusal

    def away() -> bool:
        for name in (SPACE, OPEN, BOUNDED):
            try:
                cluster.get(f"/api/v1/namespaces/{name}")
                return False
            except Refused as refusal:
                if refusal.status != 404:
                    return False
        return True

    eventually("the scene's namespaces to go", away, timeout=120)


def test_there_are_enough_attempts_and_no_two_alike():
    names = [attempt.values[0].name for attempt in ATTEMPTS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_every_control_is_attempted():
    # What an administrator must configure first, and what the API server drops before anybody sees it (below).
    elsewhere = {"image-signature", "image-source", "known-fields", "workspace-creator"}
    controls = set(re.findall(r"^## (\S+)$", (ROOT / "docs" / "controls.md").read_text(), re.MULTILINE))
    attempted = {word for attempt in ATTEMPTS for word in attempt.values[0].words}
    assert len(controls) > 30
    assert controls - attempted == elsewhere & controls


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_refused_and_its_twin_passes(cluster: Cluster, attempt: Attempt):
    with pytest.raises(Refused) as caught:
        cluster.ask(attempt.request)
    refusal = caught.value
    assert refusal.status == 403, refusal
    assert attempt.guard in refusal.message, refusal
    for word in attempt.words:
        assert word in refusal.message, refusal
    try:
        cluster.ask(attempt.twin)
    except Refused as twin:
        # Where there is no dry run the request goes on to a kubelet that knows no such pod.
        assert attempt.twin.connect and twin.status != 403 and "palisade" not in twin.message, twin


@pytest.mark.parametrize(("field", "pod", "benign"), evasions_pods.unknown_fields(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_field_that_nobody_knows_does_not_arrive(cluster: Cluster, field: str, pod: Object, benign: Object):
    """known-fields is for an API server that is newer than the table. This one knows no field that the table does not (a test of the
    policy's holds them together), so what is made up is refused by name where the client asks for that, and is dropped where not: the
    pod that is left is its benign twin, which passes."""
    pods = f"{CORE}/pods"
    with pytest.raises(Refused) as caught:
        cluster.ask(Request("POST", pods, pod, query=(("fieldValidation", "Strict"),)))
    assert caught.value.status == 400 and f'unknown field "{field}"' in caught.value.message, caught.value
    stored = cluster.ask(Request("POST", pods, pod, query=(("fieldValidation", "Ignore"),)))
    twin = cluster.ask(Request("POST", pods, benign, query=(("fieldValidation", "Strict"),)))
    assert stored["spec"] == twin["spec"]


@pytest.mark.parametrize(("how", "request_"), evasions_around.forged_creators(), ids=lambda value: value if isinstance(value, str) else "")
def test_who_created_a_workspace_cannot_be_forged(cluster: Cluster, how: str, request_: Request):
    creator = cluster.get(f"{PALISADE}/namespaces/{SPACE}/agentworkspaces/{WORKSPACE}")["metadata"]["annotations"]["palisade.dev/created-by"]
    answer = cluster.ask(request_)
    expected = evasions.TENANT if request_.method == "POST" else creator
    assert answer["metadata"]["annotations"]["palisade.dev/created-by"] == expected, how


def test_dry_runs_left_nothing_behind(cluster: Cluster):
    """All of the above were dry runs: what is there is what was there, and no event speaks of it."""
    names = {found["metadata"]["name"] for found in evasions.scene()}
    for path, others in (
        (f"{CORE}/pods", {AGENT}),
        (NETWORK, {AGENT}),
        (f"{CORE}/serviceaccounts", {AGENT, "default"}),
        (f"{CORE}/configmaps", {AGENT, "kube-root-ca.crt"}),
        (f"{CORE}/secrets", {GIT_SECRET}),
        (f"{CORE}/persistentvolumeclaims", {VOLUME}),
        (f"{evasions.RBAC}/namespaces/{SPACE}/rolebindings", set()),
        (f"{PALISADE}/namespaces/{SPACE}/agentworkspaces", set()),
        (f"{evasions.APPS}/deployments", set()),
        (f"{evasions.BATCH}/jobs", set()),
    ):
        found = {item["metadata"]["name"] for item in cluster.get(path)["items"]}
        assert found <= names | others, path
    assert {WORKSPACE, "for-web", evasions.CLOSED, "others"} <= names
    for name in ("for-web", evasions.CLOSED):
        cluster.get(f"{NETWORK}/{name}")
    labels = cluster.get(f"/api/v1/namespaces/{SPACE}")["metadata"]["labels"]
    assert not [key for key in labels if "palisade.dev" in key]
    for path in (f"{PALISADE}/agentpolicies", f"{PALISADE}/hardeningexceptions"):
        assert "evasion" not in [item["metadata"]["name"] for item in cluster.get(path)["items"]]
    for event in cluster.get(f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events")["items"]:
        assert event.get("reportingController") != "palisade-webhook", event
