"""An install that keeps to one namespace: sessions run there by Roles alone, another namespace's are left alone, and the guard is the cluster's all the same."""

from __future__ import annotations

import pytest

from e2e.harness import workspace as aw
from e2e.harness.pods import good_pod
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, GATEWAY, SYSTEM, World, install_palisade

WATCHED = "story-watched"
OTHER = "story-unwatched"
NAME = "fix-login"
OPERATOR = f"system:serviceaccount:{SYSTEM}:palisade-operator"
GATEWAYS = f"system:serviceaccount:{GATEWAY}:palisade-gateway"


def may(account: str, verb: str, resource: str, *where: str) -> bool:
    return kubectl("auth", "can-i", verb, resource, "--as", account, *where, check=False).stdout.strip() == "yes"


@pytest.fixture(scope="module")
def narrow(world: World):
    """Both namespaces have a workspace; the install keeps to the first until the stories here have been told."""
    project = world.project("namespaced")
    for namespace in (WATCHED, OTHER):
        aw.create_namespace(namespace, project.token)
    install_palisade(watchNamespaces=[WATCHED])
    try:
        apply(aw.manifest("left-alone", OTHER, project.url, message=EDIT_REQUEST, files=[EDIT_FILE]))
        apply(aw.manifest(NAME, WATCHED, project.url, message=EDIT_REQUEST, files=[EDIT_FILE]))
        aw.wait_phase(NAME, WATCHED, "Succeeded", timeout=240)
        yield project
    finally:
        install_palisade()


def test_a_session_runs_where_it_is_watched(narrow):
    assert EDITED_LINE in narrow.file_at(f"palisade/{NAME}", EDIT_FILE)
    eventually("the gateway's copy of the token to be removed", lambda: not aw.gateway_tokens(NAME, WATCHED), timeout=30)


def test_another_namespaces_workspace_is_left_alone(narrow):
    other = aw.get("left-alone", OTHER)
    assert "status" not in other
    assert "finalizers" not in other["metadata"]
    assert not kubectl_json("get", "pods,networkpolicies,configmaps", "-n", OTHER, "-l", "app.kubernetes.io/managed-by=palisade")["items"]


def test_the_accounts_have_rights_there_alone(narrow):
    for account, verb, resource in (
        (OPERATOR, "list", "pods"),
        (OPERATOR, "create", "pods"),
        (OPERATOR, "get", "secrets"),
        (OPERATOR, "watch", "agentworkspaces.palisade.dev"),
        (GATEWAYS, "list", "pods"),
        (GATEWAYS, "watch", "agentworkspaces.palisade.dev"),
    ):
        assert may(account, verb, resource, "-n", WATCHED), (account, verb, resource)
        assert not may(account, verb, resource, "-n", OTHER), (account, verb, resource)
        assert not may(account, verb, resource, "--all-namespaces"), (account, verb, resource)


@pytest.mark.parametrize(("component", "namespace"), [("operator", SYSTEM), ("gateway", GATEWAY)])
def test_nothing_that_they_do_is_forbidden(narrow, component: str, namespace: str):
    log = kubectl("logs", "-n", namespace, "-l", f"app.kubernetes.io/component={component}", "--tail=-1").stdout
    assert log
    refused = [line for line in log.splitlines() if "forbidden" in line.lower()]
    assert not refused, refused[:3]


def test_the_guard_is_the_whole_clusters(narrow, world: World):
    pod = good_pod("weak", OTHER)
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    done = kubectl("create", "--dry-run=server", "-f", "-", stdin=world.json(pod), check=False)
    assert done.returncode != 0
    assert "read-only-root-filesystem" in done.stderr


# Last: it takes the install back to all namespaces.
def test_an_install_for_all_takes_up_what_was_left_alone(narrow):
    install_palisade()
    aw.wait_phase("left-alone", OTHER, "Succeeded", timeout=240)
    aw.delete("left-alone", OTHER)
    aw.delete(NAME, WATCHED)
