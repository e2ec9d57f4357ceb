"""The feedback loop: lint and test run in the sandbox, what they print goes back to the model until they pass or the rounds are spent."""

from __future__ import annotations

import json
from typing import Any

from e2e.harness import feedback
from e2e.harness import workspace as aw
from e2e.harness.redteam import pod_log
from e2e.harness.shell import kubectl
from e2e.harness.world import World

NAMESPACE = "story-feedback"


def session(world: World, name: str, task: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    project = world.project("feedback", feedback.FILES)
    aw.create_namespace(NAMESPACE, project.token)
    task = {"files": [feedback.FILE], **task}
    kubectl("apply", "-f", "-", stdin=world.json(aw.manifest(name, NAMESPACE, project.url, message=None, task=task)))
    return project, aw.wait_phase(name, NAMESPACE, "Succeeded", timeout=240)


def asked() -> list[str]:
    requests = kubectl("get", "--raw", "/api/v1/namespaces/llm/services/llm:8080/proxy/requests").stdout
    return [request["last"] for request in json.loads(requests)]


def test_a_failing_test_goes_back_and_is_put_right(world: World):
    project, workspace = session(world, "wrong-once", {"message": feedback.REQUEST, "testCommand": ["python3", feedback.TEST]})
    said = workspace["status"]["feedback"]
    assert (said["rounds"], said["stopped"]) == (1, "Passed"), said
    assert f"{feedback.FAILURE} -1" in said["lastFailure"]
    assert any(f"{feedback.FAILURE} -1" in request for request in asked()), "the model was not shown what the test printed"
    assert feedback.RIGHT in project.file_at("palisade/wrong-once", feedback.FILE)
    assert f"{feedback.FAILURE} -1" in pod_log("wrong-once", NAMESPACE, "aider")
    aw.delete("wrong-once", NAMESPACE)


def test_the_rounds_are_spent(world: World):
    task = {"message": feedback.STUBBORN_REQUEST, "testCommand": ["python3", feedback.TEST], "rounds": 2}
    _, workspace = session(world, "stubborn", task)
    said = workspace["status"]["feedback"]
    assert (said["rounds"], said["stopped"]) == (2, "RoundsSpent"), said
    assert f"{feedback.FAILURE} 0" in said["lastFailure"]
    shown = [request for request in asked() if f"{feedback.FAILURE} 0" in request and feedback.STUBBORN_REQUEST in request]
    assert len(shown) == 2, "each round shows the model what the test printed, once"
    aw.delete("stubborn", NAMESPACE)


def test_the_lint_comes_first(world: World):
    task = {"message": feedback.LINT_REQUEST, "lintCommand": ["python3", feedback.LINT], "testCommand": ["python3", feedback.TEST]}
    project, workspace = session(world, "linted", task)
    said = workspace["status"]["feedback"]
    assert (said["rounds"], said["stopped"]) == (1, "Passed"), said
    assert "lint" in said["lastFailure"] and "a minus is no plus" in said["lastFailure"]
    assert feedback.RIGHT in project.file_at("palisade/linted", feedback.FILE)
    aw.delete("linted", NAMESPACE)


def test_a_command_that_the_image_lacks_is_told(world: World):
    _, workspace = session(world, "no-such-command", {"message": feedback.REQUEST, "testCommand": ["no-such-test"]})
    said = workspace["status"]["feedback"]
    assert (said["rounds"], said["stopped"]) == (0, "CommandUnusable"), said
    assert "no-such-test" in said["lastFailure"]
    aw.delete("no-such-command", NAMESPACE)
