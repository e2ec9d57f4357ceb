"""Workspaces that the schema accepts and that cannot work: each says what is wrong, harms no other, and recovers by itself."""

from __future__ import annotations

import json

import pytest

from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, World

NAMESPACE = "story-bad-input"


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("bad-input")
    aw.create_namespace(NAMESPACE, None)
    return project


def create(project, name: str, **spec):
    apply(aw.manifest(name, NAMESPACE, spec.pop("url", project.url), message=EDIT_REQUEST, files=[EDIT_FILE], **spec))


def test_a_missing_secret_is_named_and_its_arrival_heals(world: World, project):
    create(project, "no-secret")
    entry = aw.wait_condition("no-secret", NAMESPACE, "CredentialsReady", "False")
    assert "git-token" in entry["message"] and "token" in entry["message"]
    assert kubectl("get", "pod", "no-secret-agent", "-n", NAMESPACE, check=False).returncode != 0
    apply(aw.git_secret(NAMESPACE, project.token))
    aw.wait_phase("no-secret", NAMESPACE, "Succeeded", timeout=240)
    aw.delete("no-secret", NAMESPACE)


def test_a_refused_token_is_explained_without_being_told(world: World, project):
    wrong = "0123456789abcdef0123456789abcdef01234567"
    secret = aw.git_secret(NAMESPACE, wrong)
    secret["metadata"]["name"] = "wrong-token"
    apply(secret)
    manifest = aw.manifest("refused", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE])
    manifest["spec"]["repository"]["credentials"]["secretRef"]["name"] = "wrong-token"
    apply(manifest)

    def told() -> str | None:
        conditions = aw.get("refused", NAMESPACE).get("status", {}).get("conditions", [])
        texts = " ".join(entry["message"] for entry in conditions if entry["status"] != "True")
        return texts if "uthenti" in texts or "401" in texts or "403" in texts else None

    text = eventually("the refusal to be told", told, timeout=120)
    assert wrong not in json.dumps(aw.get("refused", NAMESPACE)) and wrong not in text
    fixed = aw.git_secret(NAMESPACE, project.token)
    fixed["metadata"]["name"] = "wrong-token"
    apply(fixed)
    aw.wait_phase("refused", NAMESPACE, "Succeeded", timeout=400)
    aw.delete("refused", NAMESPACE)


def test_an_image_that_cannot_be_pulled_is_explained(project):
    manifest = aw.manifest("no-image", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE])
    manifest["spec"]["agent"]["image"] = "localhost/palisade/absent-aider:none"
    apply(manifest)

    def told() -> bool:
        entry = aw.condition("no-image", NAMESPACE, "Ready")
        return entry.get("status") == "False" and "absent-aider" in entry.get("message", "")

    assert eventually("the image problem to be told", told, timeout=120)
    aw.delete("no-image", NAMESPACE)


def test_a_full_quota_is_explained_and_room_heals(project):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "0"}},
    }
    apply(quota)
    eventually(
        "the quota to be counted",
        lambda: kubectl("get", "resourcequota", "none", "-n", NAMESPACE, "-o", "jsonpath={.status.hard.pods}").stdout == "0",
        timeout=30,
    )
    create(project, "quota")

    def told() -> bool:
        entry = aw.condition("quota", NAMESPACE, "Ready")
        return entry.get("status") == "False" and "quota" in entry.get("message", "").lower()

    assert eventually("the quota to be told", told, timeout=60)
    kubectl("delete", "resourcequota", "none", "-n", NAMESPACE)
    aw.wait_phase("quota", NAMESPACE, "Succeeded", timeout=240)
    aw.delete("quota", NAMESPACE)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("url", "https://user:pw@git.example.com/a/b.git", "credentials"),
        ("url", "file:///etc", "https"),
        ("url", "ext::sh -c id", "https"),
        ("branch", "main", "branch"),
        ("branch", "--upload-pack=x", "branch"),
    ],
)
def test_the_schema_refuses_what_can_never_be_right(project, field, value, says):
    manifest = aw.manifest("never", NAMESPACE, project.url, message="x")
    manifest["spec"]["repository"][field] = value
    done = kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest), check=False)
    assert done.returncode != 0
    assert f"spec.repository.{field}" in done.stderr or says in done.stderr
    assert says in done.stderr


def test_explain_teaches(world: World):
    text = kubectl("explain", "agentworkspace.spec.repository").stdout
    for field in ("url", "ref", "branch", "access", "credentials"):
        assert field in text
    assert "DESCRIPTION" in text
