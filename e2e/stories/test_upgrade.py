"""Palisade itself is replaced while sessions run: none is disturbed, nothing gets in meanwhile, and its pods show their metrics."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from e2e.harness import workspace as aw
from e2e.harness.shell import apply, kubectl, kubectl_json
from e2e.harness.world import GATEWAY, SYSTEM, World, install_palisade

NAMESPACE = "story-upgrade"
NAME = "live"
COMMIT = (
    "import pathlib,subprocess; pathlib.Path('after.txt').write_text('work\\n');"
    "subprocess.run(['git','add','after.txt'],check=True); subprocess.run(['git','commit','-q','-m','After the upgrade'],check=True)"
)
WEAK = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "weak", "namespace": NAMESPACE, "labels": {"palisade.dev/agent": "aider"}},
    "spec": {"containers": [{"name": "aider", "image": "localhost/palisade/aider:dev", "securityContext": {"privileged": True}}]},
}


def pods_of(component: str, namespace: str) -> list[dict[str, Any]]:
    found = kubectl_json("get", "pods", "-n", namespace, "-l", f"app.kubernetes.io/component={component}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


class Intruder(threading.Thread):
    """Asks again and again for a weak pod, on trial, and keeps what it is told."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.manifest = world.json(WEAK)
        self.over = threading.Event()
        self.answers: list[tuple[int, str]] = []

    def run(self) -> None:
        while not self.over.is_set():
            done = kubectl("create", "--dry-run=server", "-f", "-", stdin=self.manifest, check=False)
            self.answers.append((done.returncode, done.stderr))
            time.sleep(0.2)


@pytest.fixture(scope="module")
def upgraded(world: World):
    """A running session, before and after every pod of Palisade was replaced."""
    project = world.project("upgrade")
    aw.create_namespace(NAMESPACE, project.token)
    apply(aw.manifest(NAME, NAMESPACE, project.url, message=None))
    aw.wait_phase(NAME, NAMESPACE, "Running")
    before = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
    old = {pod["metadata"]["uid"] for component, ns in (("operator", SYSTEM), ("webhook", SYSTEM), ("gateway", GATEWAY)) for pod in pods_of(component, ns)}
    intruder = Intruder(world)
    intruder.start()
    try:
        install_palisade({"palisade.dev/upgraded": str(time.time_ns())})
    finally:
        intruder.over.set()
        intruder.join()
    yield project, before, old, intruder.answers
    aw.delete(NAME, NAMESPACE)


def test_every_program_was_replaced(upgraded):
    _, _, old, _ = upgraded
    for component, namespace in (("operator", SYSTEM), ("webhook", SYSTEM), ("gateway", GATEWAY)):
        now = pods_of(component, namespace)
        assert now, component
        assert not {pod["metadata"]["uid"] for pod in now} & old, component


def test_nothing_weak_got_in_meanwhile(upgraded):
    answers = upgraded[3]
    assert len(answers) > 3
    assert all(code != 0 for code, _ in answers), "a weak pod was let in"
    assert all("palisade" in told for _, told in answers), [told for _, told in answers if "palisade" not in told]


def test_the_session_did_not_notice(upgraded):
    project, before, _, _ = upgraded
    after = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert all(status["restartCount"] == 0 for status in after["status"]["containerStatuses"])
    workspace = aw.get(NAME, NAMESPACE)
    assert workspace["status"]["phase"] == "Running"
    assert workspace["status"].get("restarts", 0) == 0
    assert aw.in_agent(NAME, NAMESPACE, COMMIT).returncode == 0
    aw.delete(NAME, NAMESPACE)
    assert project.file_at(f"palisade/{NAME}", "after.txt") == "work\n"


@pytest.mark.parametrize(("component", "namespace"), [("operator", SYSTEM), ("webhook", SYSTEM), ("gateway", GATEWAY)])
def test_its_pods_show_their_metrics(upgraded, component: str, namespace: str):
    for pod in pods_of(component, namespace):
        page = kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:8080/proxy/metrics").stdout
        assert f'palisade_build_info{{component="{component}"' in page
