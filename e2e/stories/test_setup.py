"""A project's dependencies come before its agent: from a mirror that an AgentPolicy names, by a pod that ends, onto a volume that the agent only reads."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import zipfile
from typing import Any

import pytest

from e2e.cluster import settings
from e2e.harness import pods
from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import BASE_IMAGE, EDIT_FILE, EDIT_REQUEST, FILES, World

NAMESPACE = "story-setup"
CLOSED = "story-setup-closed"  # where no policy names a mirror
MIRROR_NAMESPACE = "story-mirror"
MIRROR = "mirror.story.test"
PORT = 8080
CLASS = "story-setup"
DISKS = 5
WHEEL = "tinyhelper-1.0-py3-none-any.whl"
TEST = "check_helper.py"
PROJECT = {
    **FILES,
    "requirements.txt": "tinyhelper==1.0\n",
    TEST: "import tinyhelper\n\nassert tinyhelper.ANSWER == 42\nprint('the helper is there')\n",
}
INSTALL = (
    "python3 -m venv /opt/setup && /opt/setup/bin/pip install --no-cache-dir --disable-pip-version-check --no-compile"
    f" --index-url http://{MIRROR}:{PORT}/simple/ --trusted-host {MIRROR} -r requirements.txt"
)


def wheel() -> bytes:
    """A package that no index of the world has."""
    files = {
        "tinyhelper/__init__.py": "ANSWER = 42\n",
        "tinyhelper-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinyhelper\nVersion: 1.0\n",
        "tinyhelper-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: story\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text.encode())}\n"
    files["tinyhelper-1.0.dist-info/RECORD"] = record + "tinyhelper-1.0.dist-info/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def index() -> list[dict[str, Any]]:
    """A PEP 503 index of that one package."""
    meta = {"name": "mirror", "namespace": MIRROR_NAMESPACE}
    page = f'<!DOCTYPE html><html><body><a href="{WHEEL}#sha256={hashlib.sha256(wheel()).hexdigest()}">{WHEEL}</a></body></html>'
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MIRROR_NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {"index.html": page},
            "binaryData": {WHEEL: base64.b64encode(wheel()).decode()},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "mirror",
                        "image": BASE_IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-u", "-m", "http.server", str(PORT), "--directory", "/mirror"],
                        "readinessProbe": {"httpGet": {"path": "/simple/tinyhelper/", "port": PORT}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "mirror", "mountPath": "/mirror"}],
                    }
                ],
                "volumes": [
                    {
                        "name": "mirror",
                        "configMap": {
                            "name": "mirror",
                            "items": [{"key": key, "path": f"simple/tinyhelper/{key}"} for key in ("index.html", WHEEL)],
                        },
                    }
                ],
            },
        },
    ]


def disk(number: int) -> dict[str, Any]:
    """A disk of the node, as an administrator would offer it to whatever claim of that class comes."""
    path = settings.STATE / "volumes" / f"setup-{number}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"story-setup-{number}", "labels": {"story": "setup"}},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "local": {"path": str(path)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [settings.NODE]}]}]}
            },
        },
    }


def policy(address: str) -> dict[str, Any]:
    return {
        "apiVersion": "palisade.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": "story-setup"},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "setup": {"mirrors": [{"name": MIRROR, "addresses": [address], "port": PORT}]},
        },
    }


def setup(**more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", INSTALL], "inputs": ["requirements.txt"], "size": "500Mi", "storageClassName": CLASS, **more}


def session(name: str, url: str, **spec: Any) -> dict[str, Any]:
    return aw.manifest(name, NAMESPACE, url, message=None, **{"setup": setup(), **spec})


TASK = {"message": EDIT_REQUEST, "files": [EDIT_FILE], "testCommand": ["/opt/setup/bin/python3", TEST]}


def record(name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    return aw.get(name, namespace).get("status", {}).get("setup", {})


def started(name: str) -> list[str]:
    """What the operator has told of pods that it made for this workspace's setup."""
    events = kubectl_json("get", "events.events.k8s.io", "-n", NAMESPACE)["items"]
    return [event.get("note", "") for event in events if event["regarding"]["name"] == name and event["reason"] == "SetupStarted"]


def clean() -> None:
    for namespace in (NAMESPACE, CLOSED):
        kubectl("delete", "agentworkspaces", "--all", "-n", namespace, "--timeout=150s", "--ignore-not-found", check=False, timeout=180)
        kubectl("delete", "pvc", "--all", "-n", namespace, "--timeout=60s", check=False, timeout=90)
    kubectl("delete", "pv", "-l", "story=setup", "--timeout=60s", timeout=90)
    kubectl("delete", "agentpolicy", "story-setup", "--ignore-not-found")
    kubectl("delete", "pod", "mirror", "-n", MIRROR_NAMESPACE, "--ignore-not-found", "--timeout=60s")


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("setup", PROJECT)
    clean()
    for namespace in (NAMESPACE, CLOSED):
        aw.create_namespace(namespace, project.token)
    apply(*index())
    kubectl("wait", "--for=condition=Ready", "pod/mirror", "-n", MIRROR_NAMESPACE, "--timeout=90s", timeout=100)
    apply(*[disk(number) for number in range(DISKS)])
    yield project
    clean()


@pytest.fixture(scope="module")
def address(project) -> str:
    return kubectl_json("get", "pod", "mirror", "-n", MIRROR_NAMESPACE)["status"]["podIP"]


@pytest.fixture(scope="module")
def first(project, address: str) -> dict[str, Any]:
    """A session whose tests need the package; its setup's pods, as they were, too."""
    apply(policy(address))
    apply(session("first", project.url, task=TASK))
    seen: dict[str, Any] = {}

    def installing() -> bool:
        for pod in kubectl_json("get", "pods", "-n", NAMESPACE, "-l", "palisade.dev/setup=first")["items"]:
            if pod["spec"]["containers"][0]["name"] == "setup":
                seen["pod"] = pod
        return "pod" in seen

    eventually("the setup's pod", installing, timeout=120, interval=0.2)
    seen["workspace"] = aw.wait_phase("first", NAMESPACE, "Succeeded", timeout=300)
    return seen


def test_the_agents_tests_find_what_the_setup_installed(first):
    said = first["workspace"]["status"]
    assert said["feedback"]["stopped"] == "Passed", said["feedback"]
    assert said["setup"]["phase"] == "Ready" and said["setup"]["cached"] is False, said["setup"]
    assert any("installs" in note for note in started("first")), started("first")
    assert "the helper is there" in kubectl("logs", "first-agent", "-n", NAMESPACE, "-c", "aider", "--tail=-1").stdout


def test_nothing_in_the_setups_container_speaks_for_the_session(first):
    pod = first["pod"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {"setup", "inputs", "home", "tmp", "closed"}
    assert pod["automountServiceAccountToken"] is False
    assert {container["name"] for container in pod["initContainers"]} == {"fetch"}
    assert "restartPolicy" not in pod["initContainers"][0], "a sidecar would outlive the fetch"
    claim = first["workspace"]["status"]["setup"]["claim"]
    agent = kubectl_json("get", "pod", "first-agent", "-n", NAMESPACE)["spec"]
    assert {"claimName": claim, "readOnly": True} in [volume.get("persistentVolumeClaim") for volume in agent["volumes"]]


def test_the_second_workspace_takes_what_is_there(project, first):
    made = first["workspace"]["status"]["setup"]
    apply(session("second", project.url))
    aw.wait_phase("second", NAMESPACE, "Running", timeout=180)
    status = record("second")
    assert (status["claim"], status["cached"], status["commit"]) == (made["claim"], True, made["commit"])
    assert all("finds out the commit" in note for note in started("second")), started("second")
    assert aw.condition("second", NAMESPACE, "SetupReady")["reason"] == "Cached"
    done = aw.in_agent("second", NAMESPACE, "import tinyhelper; print(tinyhelper.ANSWER)", python="/opt/setup/bin/python3")
    assert done.stdout == "42\n", done.stderr


def test_the_agent_cannot_write_there(project, first):
    script = "import pathlib\nfor name in ('bin/planted', 'pyvenv.cfg', 'lib/planted'):\n    try:\n        pathlib.Path('/opt/setup', name).write_text('x')\n        print('wrote', name)\n    except OSError as error:\n        print(error.errno)\n"
    done = aw.in_agent("second", NAMESPACE, script)
    assert "wrote" not in done.stdout and len(done.stdout.splitlines()) == 3, done.stdout + done.stderr


def test_by_a_commit_not_even_a_pod_looks(project, first):
    commit = first["workspace"]["status"]["setup"]["commit"]
    for name, cached in (("pinned", False), ("pinned-again", True)):
        apply(session(name, project.url, setup=setup(ref=commit)))
        aw.wait_phase(name, NAMESPACE, "Running", timeout=240)
        assert record(name)["cached"] is cached
        assert bool(started(name)) is not cached, started(name)
        assert not kubectl_json("get", "pods", "-n", NAMESPACE, "-l", f"palisade.dev/setup={name}")["items"]
        assert not kubectl("get", "networkpolicy", f"{name}-setup", "-n", NAMESPACE, "--ignore-not-found").stdout
        aw.delete(name, NAMESPACE)


def test_nobody_else_gets_at_it(first):
    claim = first["workspace"]["status"]["setup"]["claim"]
    for read_only in (True, False):
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}
        good = pods.good_pod("thief", NAMESPACE)
        good["spec"].setdefault("volumes", []).append(volume)
        refused = kubectl("apply", "-f", "-", stdin=World.json(good), check=False)
        assert refused.returncode != 0 and "only the operator mounts" in refused.stderr, refused.stderr
        # Nor does anybody's ordinary pod, which is none of the webhook's business otherwise.
        plain = pods.plain_pod("thief", NAMESPACE)
        assert kubectl("apply", "--dry-run=server", "-f", "-", stdin=World.json(plain), check=False).returncode == 0
        plain["spec"]["volumes"] = [volume]
        refused = kubectl("apply", "-f", "-", stdin=World.json(plain), check=False)
        assert refused.returncode != 0 and "pods.palisade.dev" in refused.stderr, refused.stderr
    refused = kubectl("delete", "pvc", claim, "-n", NAMESPACE, "--wait=false", check=False)
    assert refused.returncode != 0 and "uses what a setup has made" in refused.stderr, refused.stderr
    refused = kubectl("annotate", "pvc", claim, "-n", NAMESPACE, "palisade.dev/setup-complete-", check=False)
    assert refused.returncode != 0 and "only the operator changes" in refused.stderr, refused.stderr


def test_without_a_policy_that_names_it_no_mirror_is_reached(project, address: str):
    probe = f"import socket; socket.create_connection(('{address}', {PORT}), 5); print('reached')"
    closed = aw.manifest("closed", CLOSED, project.url, message=None, setup=setup(command=["python3", "-c", probe]))
    apply(closed)
    failed = eventually("an attempt that fails", lambda: record("closed", CLOSED).get("lastFailure"), timeout=180)
    assert "exit code 1" in failed and ("timed out" in failed or "refused" in failed or "unreachable" in failed), failed
    assert not kubectl("get", "pod", "closed-agent", "-n", CLOSED, "--ignore-not-found").stdout, "no agent without its setup"
    aw.delete("closed", CLOSED)
    asked = aw.manifest("asks", CLOSED, project.url, message=None, setup=setup(mirrors=[MIRROR]))
    refused = kubectl("apply", "-f", "-", stdin=World.json(asked), check=False)
    assert refused.returncode != 0 and "spec.setup.mirrors[0]" in refused.stderr, refused.stderr
