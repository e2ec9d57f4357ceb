"""python3 -m e2e.demo: the story that the tests assert, told to a person on the running local cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from e2e.cluster import settings
from e2e.gitea import __main__ as gitea
from e2e.gitea.api import ApiError
from e2e.harness import probes, world
from e2e.harness import workspace as aw
from e2e.harness.pods import WEAKENED, plain_pod, weakened_pod
from e2e.harness.shell import CommandError, apply, kubectl

NAMESPACE = "demo"
NAME = "fix-login"
VISITOR = "look-inside"


def title(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m", flush=True)


def say(text: str, indent: str = "   ") -> None:
    for line in text.rstrip().splitlines():
        print(f"{indent}{line}", flush=True)


def follow(name: str) -> None:
    """Prints each change of a workspace's phase and conditions until its session is over; raises where it did not succeed."""
    seen: dict[str, str] = {}
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        status = aw.get(name, NAMESPACE).get("status", {})
        now = {entry["type"]: f"{entry['status']:5} {entry['reason']}: {entry['message']}" for entry in status.get("conditions", [])}
        now["phase"] = status.get("phase", "")
        for key, value in now.items():
            if value and seen.get(key) != value:
                say(f"{key:17} {value}")
        seen = now
        if now["phase"] in aw.TERMINAL:
            if now["phase"] != "Succeeded":
                raise AssertionError(f"the session {now['phase']}: {aw.describe(name, NAMESPACE)}")
            return
        time.sleep(0.3)
    raise AssertionError(f"the session is not over after 5 minutes: {aw.describe(name, NAMESPACE)}")


def session(project: Any) -> None:
    title("An AgentWorkspace: one task, one repository, one branch")
    manifest = aw.manifest(NAME, NAMESPACE, project.url, message=world.EDIT_REQUEST, files=[world.EDIT_FILE])
    say(kubectl("create", "--dry-run=client", "-o", "yaml", "-f", "-", stdin=json.dumps(manifest)).stdout)
    say(apply(manifest))
    follow(NAME)
    title("What Aider said in its pod")
    say(kubectl("logs", f"{NAME}-agent", "-n", NAMESPACE, "-c", "aider", "--tail=25").stdout)
    title("What arrived in the git server")
    branch = f"palisade/{NAME}"
    commit = project.commits(branch)[0]
    say(f"{branch}: {commit['sha'][:12]} {commit['commit']['message'].strip()}")
    changed = project.file_at(branch, world.EDIT_FILE)
    if world.EDITED_LINE not in changed:
        raise AssertionError(f"{world.EDIT_FILE} arrived without the change:\n{changed}")
    say(changed)
    title("What the gateway has on record of it")
    for kind in ("git", "llm"):
        for line in aw.gateway_record(NAME, NAMESPACE, kind)[:4]:
            say(json.dumps({key: value for key, value in line.items() if key not in ("time", "namespace", "workspace", "pod")}))


def inside(project: Any) -> None:
    title("What a turned agent would try, from inside the agent's container")
    apply(aw.manifest(VISITOR, NAMESPACE, project.url, message=None))
    aw.wait_phase(VISITOR, NAMESPACE, "Running")
    outside = f"{settings.OUTSIDE_IP}:{settings.OUTSIDE_PORT}"
    api_server = f"{settings.API_SERVICE_IP}:443"

    def run(script: str) -> Any:
        return json.loads(aw.in_agent(VISITOR, NAMESPACE, script, timeout=120).stdout)

    targets = {
        outside: "an outside host",
        api_server: "the API server",
        f"{settings.GIT_IP}:{settings.GIT_PORT}": "the git host, which only the gateway talks to",
        "127.0.0.1:4000": "the relay, its one way to the model",
    }
    for target, how in run(probes.connect(list(targets))).items():
        say(f"connect to {target:18} {targets[target]}: {how}")
        if (how == "open") != (target == "127.0.0.1:4000"):
            raise AssertionError(f"{target}: {how}")
    found = {"places": []}
    for what, needle in {"git token": project.token, "model's key": world.LLM_KEY}.items():
        one = run(probes.find(needle))
        found["places"] += one["places"]
        say(f"the {what} in {one['looked']} files, environments and mounts: {', '.join(one['places']) or 'not found'}")
    written = run(probes.WRITE)
    # `kubectl exec` starts beside guard, which keeps its record from the agent itself (docs/guard.md).
    tops = sorted({"/" + path.split("/")[1] for path in written["writable"] if path != "/palisade/record"})
    say(f"folders that can be written, of {written['tried']}: only below {' and '.join(tops)}")
    if found["places"] or tops != ["/tmp", "/workspace"]:
        raise AssertionError(f"{found['places']} {tops}")
    aw.delete(VISITOR, NAMESPACE)
    say(f"{VISITOR} deleted; what is left of it: {kubectl('get', 'pod,secret,networkpolicy', '-n', NAMESPACE, '-l', 'palisade.dev/workspace=' + VISITOR, '-o', 'name').stdout.split() or 'nothing'}")


def weakened() -> None:
    title("A weakened Aider pod, made by hand")
    pod = weakened_pod(NAMESPACE, lambda pod: [breakage(pod) for *_, breakage in WEAKENED[:4]], "weak-aider")
    done = kubectl("apply", "-f", "-", stdin=json.dumps(pod), check=False)
    if done.returncode == 0:
        raise AssertionError("the weakened pod was admitted")
    say(done.stderr)
    title("A plain nginx pod, which is nobody's agent")
    say(kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(plain_pod("nginx", NAMESPACE))).stdout)


def main() -> int:
    title("Images into the cluster, a git server, a scripted LLM that wants a key")
    world.load_images()
    gitea.up()
    say(f"git server: {settings.GIT_IP}:{settings.GIT_PORT} (Gitea, HTTPS)")
    world.start_llm()
    say("LLM: http://llm.llm.svc:8080/v1, which answers nobody but Palisade's gateway: it alone has the key")
    title("Helm install of Palisade")
    say(world.install_palisade().split("NOTES:")[0])
    for namespace in (world.SYSTEM, world.GATEWAY):
        say(kubectl("get", "pods", "-n", namespace).stdout)
    title("A repository with one commit, and a token that reaches it alone")
    project = world.World().project("demo")
    aw.create_namespace(NAMESPACE, project.token)
    say(f"{project.url}, token in Secret {NAMESPACE}/git-token")
    session(project)
    inside(project)
    weakened()
    title("The cluster is up and yours")
    say(f"export KUBECONFIG={settings.KUBECONFIG} PATH={settings.BIN}:$PATH")
    say(f"kubectl get aw -A; kubectl describe aw {NAME} -n {NAMESPACE}; kubectl explain aw.spec")
    say("make cluster-down removes it all")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AssertionError, ApiError, CommandError, TimeoutError, OSError, subprocess.SubprocessError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        sys.exit(1)
