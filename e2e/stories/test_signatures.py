"""Images that must be signed: what cosign's own packages wrote, in a real registry, demanded by an AgentPolicy. What is not signed by its key is told why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from e2e.cluster import settings
from e2e.harness import registry
from e2e.harness import workspace as aw
from e2e.harness.pods import deny_all, good_pod
from e2e.harness.shell import apply, eventually, kubectl
from e2e.harness.world import World

NAMESPACE = "story-signatures"
NAME = "unsigned"
NOBODY = f"{settings.GIT_IP}:3999"  # the webhook may reach it, and no registry listens there
SIGNED = f"{registry.REGISTRY}/{registry.REPOSITORY}"


def policy() -> dict[str, Any]:
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": NAMESPACE},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "requireSignatures": [{"repositories": [SIGNED, NOBODY], "keys": [{"name": "release", "publicKey": registry.key("cosign")}]}],
        },
    }


def pod(image: str) -> dict[str, Any]:
    out = good_pod("signed", NAMESPACE)
    for container in [*out["spec"].get("initContainers", []), *out["spec"]["containers"]]:
        container["image"] = image
    return out


def refusal(core: client.CoreV1Api, image: str) -> str:
    """Why no pod of that image may be made; "" where one may."""
    try:
        core.create_namespaced_pod(NAMESPACE, pod(image), dry_run="All")
    except ApiException as error:
        assert error.status == 403, error.body
        return json.loads(error.body)["message"]
    return ""


@pytest.fixture(scope="module")
def images(world: World, core: client.CoreV1Api):
    """By the names of the fixture; the webhook knows what is demanded of them."""
    project = world.project("signatures")
    aw.create_namespace(NAMESPACE, project.token)
    apply(deny_all(NAMESPACE))
    pushed = registry.push()
    apply(policy())

    def known() -> bool:
        told = refusal(core, f"{SIGNED}:signed")
        return "image-signature" in told and "deny-all-network" not in told

    try:
        eventually("the policies to be known", known, timeout=30)
        yield pushed
    finally:
        kubectl("delete", "agentworkspaces", "--all", "-n", NAMESPACE, "--timeout=150s", timeout=180)
        kubectl("delete", "agentpolicy", NAMESPACE, "--ignore-not-found")


@pytest.mark.parametrize("name", ["signed", "annotated", "bundled"])
def test_what_the_key_signed_passes(core: client.CoreV1Api, images: dict[str, str], name: str):
    """Under a tag, as cosign 2 stores its signatures, and in a bundle that refers to the image, as cosign 3 does."""
    assert refusal(core, images[name]) == ""


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("unsigned", "has no signature: "),
        ("foreign", "has no signature by release: it is by another key"),
        ("moved", "has no signature by release: what was signed is another image"),
        ("bundled-foreign", "of the bundle that refers to it, it is by another key"),
        ("attested", "of the bundle that refers to it, what was signed is another statement"),
    ],
)
def test_what_it_did_not_sign_is_refused_with_the_reason_and_the_command(core: client.CoreV1Api, images: dict[str, str], name: str, because: str):
    told = refusal(core, images[name])
    assert "[image-signature]" in told, told
    assert because in told, told
    assert f"cosign sign --key KEY {images[name]}" in told, told


def test_only_digests_of_the_repositories_that_the_policy_names(core: client.CoreV1Api, images: dict[str, str]):
    assert "must be named by digest" in refusal(core, f"{SIGNED}:signed")
    elsewhere = images["signed"].replace(SIGNED, f"{registry.REGISTRY}/elsewhere/aider")
    assert f"is in no repository for which requireSignatures of AgentPolicy {NAMESPACE} has keys" in refusal(core, elsewhere)


def test_a_registry_that_is_down_lets_nothing_through_and_says_so(core: client.CoreV1Api, images: dict[str, str]):
    told = refusal(core, images["signed"].replace(SIGNED, f"{NOBODY}/palisade/aider"))
    assert "cannot be verified now, so it is refused" in told, told
    assert NOBODY in told.split("cannot be verified now")[1], told
    # What is known to be signed is not asked for again, and is none the worse.
    assert refusal(core, images["signed"]) == ""


def test_a_workspace_whose_images_are_not_signed_says_so(world: World, images: dict[str, str]):
    apply(aw.manifest(NAME, NAMESPACE, world.project("signatures").url, message=None))

    def told() -> str | None:
        conditions = aw.get(NAME, NAMESPACE).get("status", {}).get("conditions", [])
        return next((one["message"] for one in conditions if "image-signature" in one.get("message", "")), None)

    assert "requireSignatures of AgentPolicy" in eventually("the workspace to say why it has no pod", told, timeout=90)
