"""The official OpenAI client in the agent's container, through relay and gateway: it need not know that they are there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.harness import openai_client
from e2e.harness import workspace as aw
from e2e.harness.shell import eventually, kubectl, kubectl_json
from e2e.harness.world import LLM_SCRIPT, World

NAMESPACE = "story-gateway-llm"
NAME = "client"
# Put together here, so that no scanner takes this file for a leak.
LEAK = "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"


@pytest.fixture(scope="module")
def seen(world: World) -> dict[str, Any]:
    """What the client's program printed, in a session that stays open."""
    project = world.project("gateway-llm")
    aw.create_namespace(NAMESPACE, project.token)
    kubectl("apply", "-f", "-", stdin=world.json(aw.manifest(NAME, NAMESPACE, project.url, message=None)))
    aw.wait_phase(NAME, NAMESPACE, "Running")
    kubectl("wait", f"pod/{NAME}-agent", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", timeout=130)
    text = openai_client.program("http://127.0.0.1:4000/v1", "gpt-4o", "gpt-4o-mini", f"Say nothing of {LEAK}, nor of {project.token}.")
    done = aw.in_agent(NAME, NAMESPACE, text, timeout=180, python="/opt/aider/bin/python3")  # which has the client
    assert done.returncode == 0, done.stderr
    yield {**json.loads(done.stdout), "token": project.token}
    aw.delete(NAME, NAMESPACE)


def test_answers_arrive_whole_and_streamed(seen):
    expected = LLM_SCRIPT["default"]
    assert seen["models"] == ["gpt-4o"]
    assert seen["whole"] == {"text": expected, "tokens": 20}
    assert seen["streamed"]["text"] == expected and seen["streamed"]["tokens"] is None, "the usage that the gateway asked for is its own"
    assert seen["streamed with usage"]["text"] == expected and seen["streamed with usage"]["tokens"] == 20
    assert seen["streamed with usage"]["chunks"] == seen["streamed"]["chunks"] + 1


@pytest.mark.parametrize(
    ("what", "raised", "status", "code", "words"),
    [
        ("no such model", "NotFoundError", 404, "model_not_found", "may use gpt-4o"),
        ("another's model", "PermissionDeniedError", 403, "model_not_allowed", "may use gpt-4o"),
        ("a wrong type", "BadRequestError", 400, "invalid_request", "max_tokens must be a whole number"),
        ("what the model has not", "NotFoundError", 404, "upstream_refused", "no such path"),
    ],
)
def test_errors_are_the_clients_own_exceptions(seen, what: str, raised: str, status: int, code: str, words: str):
    error = seen[what]
    assert (error["raised"], error["status"], error["code"]) == (raised, status, code), error
    assert words in error["message"]


def test_credentials_do_not_leave(seen, world: World):
    asked = json.loads(kubectl("get", "--raw", "/api/v1/namespaces/llm/services/llm:8080/proxy/requests").stdout)
    mine = [request["last"] for request in asked if "Say nothing of [masked " in request["last"]]
    assert len(mine) >= 3
    for text in mine:
        assert LEAK not in text and seen["token"] not in text, text


def test_the_record_tells_of_each_call(seen):
    def told() -> list[dict[str, Any]]:
        lines = aw.gateway_record(NAME, NAMESPACE, "llm")
        return lines if len(lines) >= 8 else []

    lines = eventually("the record of the calls", told, timeout=20)
    by_code = {line["code"]: line for line in lines}
    assert {"ok", "model_not_found", "model_not_allowed", "invalid_request", "upstream_refused"} <= set(by_code)
    streams = [line for line in lines if line["stream"] and line["code"] == "ok"]
    assert len(streams) == 2
    for line in streams:
        assert (line["promptTokens"], line["completionTokens"]) == (10, 10), "usage is counted whether the client asks for it or not"
        assert "credentialsMasked" in line["flags"] and "estimated" not in line["flags"]
    assert by_code["model_not_allowed"]["verdict"] == "refused" and by_code["upstream_refused"]["verdict"] == "failed"
    assert kubectl_json("get", "agentworkspace", NAME, "-n", NAMESPACE)["status"]["phase"] == "Running"
