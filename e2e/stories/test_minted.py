"""A session whose git token Palisade mints itself: made for it, used through the gateway, gone with it; its work ends in a pull request."""

from __future__ import annotations

from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, World

NAMESPACE = "story-minted"


def credentials(namespace: str, project) -> dict:
    apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "bot", "namespace": namespace},
            "stringData": {"username": project.bot, "password": project.password},
        }
    )
    return {"gitea": {"secretRef": {"name": "bot"}}}


def repository(project, namespace: str, **more) -> dict:
    return {"url": project.url, "ref": "main", "credentials": credentials(namespace, project), **more}


def minted(project) -> list[str]:
    return [name for name in project.tokens() if name.startswith("palisade-")]


def test_a_token_is_minted_used_and_revoked_and_the_work_becomes_a_pull_request(world: World):
    project = world.project("minted")
    aw.create_namespace(NAMESPACE, None)
    asked = repository(project, NAMESPACE, mergeRequest={"title": "Accept spaces in login names"})
    apply(aw.manifest("work", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE], repository=asked))
    aw.wait_condition("work", NAMESPACE, "CredentialsReady", "True", "Minted")
    assert len(minted(project)) == 1
    uid = aw.get("work", NAMESPACE)["metadata"]["uid"]
    kept = kubectl_json("get", "secret", f"git-{uid}", "-n", "palisade-gateway")
    assert set(kept["data"]) >= {"token", "username"}
    assert kubectl("get", "secret", "work-git", "-n", NAMESPACE, check=False).returncode != 0, "the namespace never sees it"
    aw.wait_phase("work", NAMESPACE, "Succeeded")
    assert EDITED_LINE in project.file_at("palisade/work", EDIT_FILE)

    [opened] = eventually("the pull request", project.pull_requests, timeout=60)
    assert opened["title"] == "Accept spaces in login names"
    assert (opened["head"]["ref"], opened["base"]["ref"]) == ("palisade/work", "main")
    told = eventually("its place in status", lambda: aw.get("work", NAMESPACE)["status"].get("mergeRequest"), timeout=60)
    assert told["number"] == opened["number"] and told["url"].endswith(f"/pulls/{opened['number']}")
    eventually("the token to be revoked", lambda: not minted(project), timeout=60)
    aw.delete("work", NAMESPACE)
    assert kubectl("get", "secret", f"git-{uid}", "-n", "palisade-gateway", check=False).returncode != 0
    assert len(project.pull_requests()) == 1


def test_a_live_session_that_is_deleted_takes_its_token_along(world: World):
    project = world.project("minted-deleted")
    aw.create_namespace(NAMESPACE, None)
    apply(aw.manifest("open", NAMESPACE, project.url, message=None, repository=repository(project, NAMESPACE)))
    aw.wait_phase("open", NAMESPACE, "Running")
    assert len(minted(project)) == 1
    aw.delete("open", NAMESPACE)
    assert minted(project) == []


def test_a_wrong_password_is_said_and_nothing_starts(world: World):
    project = world.project("minted-deleted")
    aw.create_namespace(NAMESPACE, None)
    asked = repository(project, NAMESPACE)
    apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bot", "namespace": NAMESPACE}, "stringData": {"password": "wrong"}})
    apply(aw.manifest("wrong", NAMESPACE, project.url, message=None, repository=asked))
    refused = aw.wait_condition("wrong", NAMESPACE, "CredentialsReady", "False")
    assert "wrong" not in refused["message"] and refused["message"], refused
    assert kubectl("get", "pod", "wrong-agent", "-n", NAMESPACE, check=False).returncode != 0
    # With these credentials nobody can be asked whether a token was left behind: without them the workspace goes after half a minute.
    kubectl("delete", "secret", "bot", "-n", NAMESPACE)
    aw.delete("wrong", NAMESPACE)
