"""What a turned agent would try from inside its container, with the control that shows the probe would have seen it."""

from __future__ import annotations

import json

import pytest

from e2e.harness import probes
from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import World

NAMESPACE = "story-isolation"


def agent(name: str, script: str, timeout: float = 90):
    done = aw.in_agent(name, NAMESPACE, script, timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("isolation")
    aw.create_namespace(NAMESPACE, project.token)
    for name in ("inside", "neighbour"):
        kubectl("apply", "-f", "-", stdin=world.json(aw.manifest(name, NAMESPACE, project.url, message=None)))
    for name in ("inside", "neighbour"):
        aw.wait_phase(name, NAMESPACE, "Running", timeout=180)
        kubectl("wait", f"pod/{name}-agent", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", timeout=130)
    yield project
    for name in ("inside", "neighbour"):
        aw.delete(name, NAMESPACE)


@pytest.fixture(scope="module")
def free_pod(world: World, project):
    """A pod that is nobody's agent: the control for what the network itself lets through."""
    apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "free", "namespace": NAMESPACE},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "free", "image": world.base_image, "command": ["sleep", "600"], "imagePullPolicy": "IfNotPresent"}],
            },
        }
    )
    kubectl("wait", "pod/free", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=90s")
    yield "free"
    kubectl("delete", "pod", "free", "-n", NAMESPACE, "--wait=false")


def from_free_pod(targets: list[str]) -> dict[str, str]:
    return json.loads(kubectl("exec", "free", "-n", NAMESPACE, "--", "python3", "-c", probes.connect(targets)).stdout)


def api_servers() -> list[str]:
    endpoints = kubectl_json("get", "endpoints", "kubernetes", "-n", "default")["subsets"][0]
    cluster_ip = kubectl_json("get", "service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    return [f"{cluster_ip}:443", f"{endpoints['addresses'][0]['ip']}:{endpoints['ports'][0]['port']}"]


def test_an_outside_host_cannot_be_reached(world: World, free_pod):
    assert from_free_pod([world.outside]) == {world.outside: "open"}
    assert agent("inside", probes.connect([world.outside]))[world.outside] != "open"


def test_the_api_server_cannot_be_reached(free_pod):
    targets = api_servers()
    assert set(from_free_pod(targets).values()) == {"open"}
    seen = agent("inside", probes.connect(targets))
    assert "open" not in seen.values(), seen


def test_another_workspace_cannot_be_reached(world: World, project, free_pod):
    address = kubectl_json("get", "pod", "neighbour-agent", "-n", NAMESPACE)["status"]["podIP"]
    server = "import subprocess,sys; subprocess.Popen([sys.executable,'-m','http.server','8000'],stdout=-3,stderr=-3,stdin=-3,start_new_session=True)"
    assert aw.in_agent("neighbour", NAMESPACE, server).returncode == 0
    local = probes.connect(["127.0.0.1:8000"])
    eventually("the neighbour to listen", lambda: agent("neighbour", local)["127.0.0.1:8000"] == "open", timeout=20)
    target = f"{address}:8000"
    assert agent("inside", probes.connect([target]))[target] != "open"
    assert from_free_pod([target])[target] != "open", "nothing may connect into an agent's pod"


def test_the_gateway_can_be_reached_and_what_is_behind_it_cannot(world: World, project, free_pod):
    """The deny-all policy has one door, and it is open: else the tests above would prove little. Guard keeps the agent from it (see the red team)."""
    gateway = kubectl_json("get", "service", "palisade-gateway", "-n", "palisade-gateway")["spec"]["clusterIP"]
    doors = ["127.0.0.1:4000", f"{gateway}:8443"]
    assert set(agent("inside", probes.connect(doors)).values()) == {"open"}
    model = kubectl_json("get", "service", "llm", "-n", "llm")["spec"]["clusterIP"]
    behind = [world.git_address, f"{model}:8080"]
    assert set(from_free_pod(behind).values()) == {"open"}
    assert "open" not in agent("inside", probes.connect(behind)).values()
    assert from_free_pod([f"{gateway}:8443"])[f"{gateway}:8443"] != "open", "only sessions may talk to the gateway"


def test_names_do_not_resolve(project):
    script = "import json,socket\ntry:\n  socket.getaddrinfo('kubernetes.default.svc',443); print(json.dumps('resolved'))\nexcept OSError as e: print(json.dumps('refused'))"
    assert agent("inside", script) == "refused"


def test_the_git_token_is_nowhere(project):
    planted = aw.in_agent("inside", NAMESPACE, "open('/workspace/planted','w').write('palisade-'+'canary-1234')")
    assert planted.returncode == 0, planted.stderr
    assert "/workspace/planted" in agent("inside", probes.find("palisade-canary-1234"))["places"]
    seen = agent("inside", probes.find(project.token), timeout=120)
    assert seen["places"] == []
    assert seen["looked"] > 20
    assert agent("inside", probes.find("/var/run/secrets"))["places"] == [], "no Secret or token volume is mounted"


def test_only_workspace_and_tmp_can_be_written(project):
    seen = agent("inside", probes.WRITE, timeout=120)
    # A program that kubectl exec starts is no child of guard, whose record it could write: only the workspace's creator may do that.
    outside = [path for path in seen["writable"] if path.split("/")[1] not in ("workspace", "tmp") and path != "/palisade/record"]
    assert outside == []
    assert "/workspace/repo" in seen["writable"] and "/tmp" in seen["writable"]
    assert seen["tried"] > 100


def test_the_agent_is_confined_by_the_kernel(project):
    script = (
        "import json,os\n"
        "status=dict(l.rstrip().split(':\\t',1) for l in open('/proc/self/status') if ':\\t' in l)\n"
        "print(json.dumps({'uid':os.getuid(),'gid':os.getgid(),'caps':status['CapEff'],'bound':status['CapBnd'],"
        "'nnp':status['NoNewPrivs'],'seccomp':status['Seccomp'],'uid_map':open('/proc/self/uid_map').read().split()}))"
    )
    seen = agent("inside", script)
    assert (seen["uid"], seen["gid"]) == (1001, 1001)
    assert int(seen["caps"], 16) == 0 and int(seen["bound"], 16) == 0
    assert seen["nnp"] == "1" and seen["seccomp"] == "2"
    assert seen["uid_map"][0] == "0" and seen["uid_map"][1] != "0", "not in a user namespace of its own"


def test_no_service_is_in_the_environment(project):
    seen = agent("inside", "import json,os; print(json.dumps(sorted(os.environ)))")
    assert [name for name in seen if name.endswith(("_SERVICE_HOST", "_PORT")) and not name.startswith("KUBERNETES_")] == []
