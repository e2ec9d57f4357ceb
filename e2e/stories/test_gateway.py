"""The gateway and the relay: an agent with no key, no token and no route, and what it may use all the same."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from e2e.harness import probes
from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, GATEWAY, LLM_KEY, OWN_LLM, VIRTUAL_KEY, World

NAMESPACE = "story-gateway"
TOKENS = 400  # of the thrifty workspace's budget

# One request from the agent's container; prints [status, body]. TOKEN is sent where it is not empty.
ASK = r"""
import json, ssl, urllib.error, urllib.request
request = urllib.request.Request(URL, data=BODY.encode() if BODY else None, method=METHOD)
request.add_header("Content-Type", "application/json")
if TOKEN:
    request.add_header("Authorization", "Bearer " + TOKEN)
for name, value in HEADERS.items():
    request.add_header(name, value)
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
try:
    with urllib.request.urlopen(request, timeout=30, **({"context": context} if URL.startswith("https") else {})) as reply:
        print(json.dumps([reply.status, reply.read(1 << 20).decode(errors="replace")]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read(1 << 20).decode(errors="replace")]))
"""

RELAY = "http://127.0.0.1:4000"


def asking(url: str, body: Any = None, *, token: str = "", method: str | None = None, headers: dict[str, str] | None = None) -> str:
    text = json.dumps(body) if body is not None else ""
    given = {"URL": url, "BODY": text, "TOKEN": token, "METHOD": method or ("POST" if body is not None else "GET"), "HEADERS": headers or {}}
    return "".join(f"{name} = {value!r}\n" for name, value in given.items()) + ASK


def ask(name: str, url: str, body: Any = None, **more: Any) -> tuple[int, str]:
    done = aw.in_agent(name, NAMESPACE, asking(url, body, **more))
    assert done.returncode == 0, done.stderr
    status, text = json.loads(done.stdout)
    return status, text


def chat(model: str = "gpt-4o", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Say nothing."}], "max_tokens": 20, **more}


def llm(path: str) -> Any:
    """What the scripted model tells of itself."""
    return json.loads(kubectl("get", "--raw", f"/api/v1/namespaces/llm/services/llm:8080/proxy/{path}").stdout)


@pytest.fixture(scope="module")
def project(world: World):
    """All sessions of this story, under way at once."""
    project = world.project("gateway")
    aw.create_namespace(NAMESPACE, project.token)
    task = {"message": EDIT_REQUEST, "files": [EDIT_FILE]}
    repository = {"url": project.url, "ref": "main", "credentials": {"secretRef": {"name": "git-token", "key": "token"}}}
    apply(
        aw.key_secret(NAMESPACE, VIRTUAL_KEY),
        aw.manifest("inside", NAMESPACE, project.url, message=None),
        aw.manifest("thrifty", NAMESPACE, project.url, message=None, llm={"gateway": "default", "budget": {"tokens": TOKENS}}),
        # Round the gateway: git straight to its host, and another gateway with a key of the workspace's.
        aw.manifest(
            "own-ways", NAMESPACE, project.url, message=None, task=task, repository={**repository, "via": "Direct"},
            llm={"gateway": OWN_LLM, "keySecretRef": {"name": "virtual-key"}},
        ),
    )
    for name in ("inside", "thrifty"):
        aw.wait_phase(name, NAMESPACE, "Running")
        kubectl("wait", f"pod/{name}-agent", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", timeout=130)
    yield project
    for name in ("inside", "thrifty", "own-ways"):
        aw.delete(name, NAMESPACE)


def test_the_agents_container_holds_no_key_no_token_and_no_name(project):
    def places(needle: str) -> list[str]:
        seen = json.loads(aw.in_agent("inside", NAMESPACE, probes.find(needle), timeout=120).stdout)
        assert seen["looked"] > 20
        return seen["places"]

    canary = aw.in_agent("inside", NAMESPACE, "open('/workspace/planted','w').write('palisade-'+'canary-1234')")
    assert canary.returncode == 0 and places("palisade-canary-1234") == ["/workspace/planted"]
    assert places(LLM_KEY) == [] and places(project.token) == []
    assert places("/var/run/secrets") == [], "a token is mounted"
    assert places("palisade-gateway") == [], "the gateway's name is nothing that the agent needs"
    environment = aw.in_agent("inside", NAMESPACE, "import json,os; print(json.dumps(dict(os.environ)))")
    seen = json.loads(environment.stdout)
    assert seen["OPENAI_API_KEY"] == "none" and seen["OPENAI_API_BASE"] == f"{RELAY}/v1"
    assert not [name for name in seen if "TOKEN" in name or ("KEY" in name and seen[name] != "none" and not name.startswith("GIT_CONFIG_KEY_"))]


def test_the_relay_answers_its_paths_alone(project):
    assert ask("inside", f"{RELAY}/v1/models")[0] == 200
    for path in ("/", "/metrics", "/healthz", "/v1", "/v2/models", "/git/info/refs?service=git-upload-pack", "//v1/models", "/v1/../git/info/refs"):
        status, text = ask("inside", RELAY + path)
        assert status in (400, 404), f"{path}: {status} {text}"
    status, text = ask("inside", f"{RELAY}/v1/files")
    assert status == 404, text


def test_whatever_the_agent_says_of_itself_is_left_out(project):
    forged = {"Authorization": "Bearer sk-forged", "X-Forwarded-For": "10.0.0.1", "Cookie": "a=b", "X-Palisade-Workspace": "other"}
    status, text = ask("inside", f"{RELAY}/v1/chat/completions", chat(), headers=forged)
    assert status == 200, text


def test_another_model_is_refused(project):
    assert ask("inside", f"{RELAY}/v1/chat/completions", chat())[0] == 200
    before = len(llm("requests"))
    status, text = ask("inside", f"{RELAY}/v1/chat/completions", chat("gpt-4o-mini"))
    assert (status, json.loads(text)["error"]["code"]) == (403, "model_not_allowed"), text
    assert len(llm("requests")) == before, "it reached the model"
    listed = {model["id"] for model in json.loads(ask("inside", f"{RELAY}/v1/models")[1])["data"]}
    assert listed == {"gpt-4o"}


def test_a_spent_budget_is_told_and_ends_the_calls(project):
    codes = []
    for _ in range(TOKENS // 20 + 2):
        status, text = ask("thrifty", f"{RELAY}/v1/chat/completions", chat())
        codes.append(status)
        if status != 200:
            assert (status, json.loads(text)["error"]["code"]) == (429, "budget_exceeded"), text
            break
    assert codes[0] == 200 and codes[-1] == 429, codes
    assert ask("inside", f"{RELAY}/v1/chat/completions", chat())[0] == 200, "others are not affected"

    def told() -> bool:
        return any(line["verdict"] == "refused" and line["code"] == "budget_exceeded" for line in aw.gateway_record("thrifty", NAMESPACE, "llm"))

    eventually("the record to tell of it", told, timeout=20)

    def shown() -> bool:
        events = kubectl_json("get", "events.events.k8s.io", "-n", NAMESPACE)["items"]
        return any(event["reason"] == "BudgetSpent" and event["regarding"]["name"] == "thrifty" and f"may use {TOKENS} tokens" in event["note"]
                   and "does not renew" in event["note"] for event in events)

    eventually("an Event on the workspace", shown, timeout=20)


def test_every_call_is_on_record_without_secrets(project):
    calls = [line for line in aw.gateway_record("inside", NAMESPACE, "llm") if line["verdict"] == "allowed" and line.get("promptTokens")]
    assert calls and calls[0]["promptTokens"] == 10 and calls[0]["completionTokens"] == 10 and calls[0]["costMicros"] == 125, calls[:3]
    fetched = aw.gateway_record("inside", NAMESPACE, "git")
    assert any(line["command"] == "fetch" and line["verdict"] == "allowed" for line in fetched), fetched
    log = aw.gateway_logs()
    for secret in (LLM_KEY, project.token, "Say nothing"):
        assert secret not in log


def test_nobody_else_can_use_the_gateway(project):
    """With a token of another account, another audience, or none. The agent's pod is the only place from where it can be tried at all."""
    address = kubectl_json("get", "service", "palisade-gateway", "-n", GATEWAY)["spec"]["clusterIP"]
    url = f"https://{address}:8443/v1/models"

    def made(account: str, audience: str) -> str:
        return kubectl("create", "token", account, "-n", NAMESPACE, f"--audience={audience}", "--duration=10m").stdout.strip()

    for what, token in {
        "none": "",
        "no token": "sk-anything",
        "another account's": made("default", "palisade-gateway"),
        "another audience's": made("default", "https://kubernetes.default.svc.cluster.local"),
    }.items():
        status, text = ask("inside", url, token=token)
        assert status in (401, 403), f"{what}: {status} {text}"
        assert "error" in json.loads(text)
    # Nobody is given one of the session's own account.
    done = kubectl("create", "token", "inside-agent", "-n", NAMESPACE, "--audience=palisade-gateway", check=False)
    assert done.returncode != 0 and "ServiceAccount is an agent's" in done.stderr, done.stderr


def test_its_keys_are_nobodys_to_read(project):
    for account in (f"{NAMESPACE}:inside-agent", f"{NAMESPACE}:default", "palisade-system:palisade-webhook"):
        who = f"--as=system:serviceaccount:{account}"
        for verb in ("get", "list", "watch"):
            assert kubectl("auth", "can-i", verb, "secrets", "-n", GATEWAY, who, check=False).stdout.strip() == "no", (account, verb)
    for where in ("default", NAMESPACE, "palisade-system"):
        allowed = kubectl("auth", "can-i", "get", "secrets", "-n", where, f"--as=system:serviceaccount:{GATEWAY}:palisade-gateway", check=False)
        assert allowed.stdout.strip() == "no", where


def test_own_gateway_and_direct_git(project):
    """Another gateway gets the workspace's virtual key from the relay, and git goes to its host: nothing of it touches Palisade's own."""
    workspace = aw.wait_phase("own-ways", NAMESPACE, "Succeeded", timeout=240)
    assert EDITED_LINE in project.file_at("palisade/own-ways", EDIT_FILE)
    assert workspace["status"]["llm"]["requests"] >= 2
    assert any(request["path"].startswith("/byo/v1/") for request in llm("requests"))
    assert aw.gateway_record("own-ways", NAMESPACE, "llm") == aw.gateway_record("own-ways", NAMESPACE, "git") == []
    assert aw.gateway_tokens("own-ways", NAMESPACE) == []
    eventually(
        "key and token to be gone",
        lambda: all(kubectl("get", "secret", f"own-ways-{one}", "-n", NAMESPACE, check=False).returncode != 0 for one in ("git", "llm")),
        timeout=30,
    )


def test_no_call_was_made_without_its_key(project):
    assert llm("refusals") == {"/v1": 0, "/byo/v1": 0}


def test_a_killed_replica_takes_no_session_with_it(project):
    pods = kubectl_json("get", "pods", "-n", GATEWAY, "-l", "app.kubernetes.io/component=gateway")["items"]
    assert len([pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]) >= 2
    # A loop in the agent's container, over the kill.
    body = "".join(f"    {line}\n" for line in asking(f"{RELAY}/v1/chat/completions", chat()).splitlines())
    script = f"import time\nend = time.time() + 25\nwhile time.time() < end:\n{body}    time.sleep(0.2)\n"
    killed = pods[0]["metadata"]["name"]
    begun = time.monotonic()
    kubectl("delete", "pod", killed, "-n", GATEWAY, "--grace-period=0", "--force", "--wait=false")
    done = aw.in_agent("inside", NAMESPACE, script, timeout=90)
    assert done.returncode == 0, done.stderr
    statuses = [json.loads(line)[0] for line in done.stdout.splitlines()]
    assert len(statuses) >= 20 and time.monotonic() - begun >= 20
    assert len([status for status in statuses if status != 200]) <= 3, statuses
    assert set(statuses[-10:]) == {200}, statuses
    kubectl("rollout", "status", "deployment/palisade-gateway", "-n", GATEWAY, "--timeout=120s", timeout=130)
