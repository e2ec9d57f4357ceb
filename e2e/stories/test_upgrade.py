"""An older chart is upgraded to this one while a session runs: it is not disturbed, nothing gets in meanwhile, half of an upgrade is told, and what is new
works. No version was released before this one: e2e/harness/older.py makes the chart of one."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2e.gitea.api import Project
from e2e.harness import older
from e2e.harness import workspace as aw
from e2e.harness.shell import ROOT, TOOLS, apply, eventually, kubectl, kubectl_json, run
from e2e.harness.world import AGENT_IMAGE, CONTROL_PLANE, GATEWAY, SYSTEM, World, install_palisade, name_again

NAMESPACE = "story-upgrade"
NAME = "live"
PROGRAM = ROOT / os.environ.get("PALISADE_BIN", "build/release/bin") / "palisade"
PROGRAMS = [("operator", SYSTEM), ("webhook", SYSTEM), ("gateway", GATEWAY)]
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

    def end(self) -> None:
        self.over.set()
        if self.ident is not None:
            self.join()


def upgrade(check: bool = True) -> subprocess.CompletedProcess[str]:
    """To this version, with the values that the release has."""
    images = ("--set", "image.tag=dev", "--set", f"agentImage={AGENT_IMAGE}")
    command = [str(TOOLS / "helm"), "upgrade", "palisade", "charts/palisade", "--namespace", SYSTEM, "--reset-then-reuse-values", *images]
    return run([*command, "--wait", "--timeout", "180s"], timeout=240, check=check)


def doctor() -> subprocess.CompletedProcess[str]:
    return run([str(PROGRAM), "doctor", "--only", "definitions"], check=False)


def palisades_pods() -> set[str]:
    return {pod["metadata"]["uid"] for component, ns in PROGRAMS for pod in pods_of(component, ns)}


@dataclass
class Upgraded:
    project: Project
    session: dict[str, Any]  # its pod, under the older version
    old: set[str]  # Palisade's pods then
    refused: subprocess.CompletedProcess[str]  # the upgrade upon old definitions
    after_refusal: set[str]
    half: list[subprocess.CompletedProcess[str]]  # what doctor said: old definitions, then new ones with the old release
    answers: list[tuple[int, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def upgraded(world: World, tmp_path_factory: pytest.TempPathFactory):
    """A running session of an older version, whose programs are this one's under another tag, before and after the upgrade to this one."""
    chart = older.older_chart(tmp_path_factory.mktemp("older"))
    project = world.project("upgrade")
    aw.create_namespace(NAMESPACE, project.token)
    intruder = Intruder(world)
    try:
        kubectl("delete", "customresourcedefinition", older.LATER_KIND, "--timeout=60s")
        for name in older.LATER_FIELDS:
            kubectl("replace", "-f", str(chart / f"crds/{name}.yaml"))
        install_palisade(
            chart=str(chart),
            image={"repository": CONTROL_PLANE, "tag": name_again(f"{CONTROL_PLANE}:dev", older.VERSION).rpartition(":")[2]},
            agentImage=name_again(AGENT_IMAGE, older.VERSION),
        )
        apply(aw.manifest(NAME, NAMESPACE, project.url, message=None))
        aw.wait_phase(NAME, NAMESPACE, "Running")
        session = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
        old = palisades_pods()
        intruder.start()
        refused = upgrade(check=False)
        after_refusal = palisades_pods()
        half = [doctor()]
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "charts/palisade/crds/")
        half.append(doctor())
        upgrade()
        intruder.end()
        yield Upgraded(project, session, old, refused, after_refusal, half, intruder.answers)
    finally:
        intruder.end()
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "charts/palisade/crds/")
        install_palisade()
        aw.delete(NAME, NAMESPACE)


def test_a_new_chart_upon_old_definitions_is_refused_in_one_line(upgraded: Upgraded):
    assert upgraded.refused.returncode != 0
    told = [line for line in upgraded.refused.stderr.splitlines() if not line.startswith("level=")]
    assert len(told) == 1, told
    assert f"there is no {older.LATER_KIND}" in told[0] and "kubectl apply --server-side --force-conflicts -f crds/" in told[0]
    assert upgraded.after_refusal == upgraded.old, "a pod was replaced"


def test_half_an_upgrade_is_told(upgraded: Upgraded):
    old_definitions, old_release = upgraded.half
    assert old_definitions.returncode == 1
    assert f"CustomResourceDefinition {older.LATER_KIND} is not there" in old_definitions.stdout
    assert "agentworkspaces.palisade.dev is of an older version" in old_definitions.stdout
    assert old_release.returncode == 0
    assert f"the release is of version {older.VERSION}" in old_release.stdout
    whole = doctor()
    assert whole.returncode == 0, whole.stdout
    assert "0 problems, 0 warnings" in whole.stdout


def test_every_program_was_replaced(upgraded: Upgraded):
    for component, namespace in PROGRAMS:
        now = pods_of(component, namespace)
        assert now, component
        assert not {pod["metadata"]["uid"] for pod in now} & upgraded.old, component
        assert {container["image"] for pod in now for container in pod["spec"]["containers"]} == {f"{CONTROL_PLANE}:dev"}, component


def test_nothing_weak_got_in_meanwhile(upgraded: Upgraded):
    answers = upgraded.answers
    assert len(answers) > 3
    assert all(code != 0 for code, _ in answers), "a weak pod was let in"
    assert all("palisade" in told for _, told in answers), [told for _, told in answers if "palisade" not in told]


def test_the_session_did_not_notice(upgraded: Upgraded):
    after = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
    assert after["metadata"]["uid"] == upgraded.session["metadata"]["uid"]
    assert after["spec"] == upgraded.session["spec"]
    assert all(container["image"].endswith(f":{older.VERSION}") for container in after["spec"]["containers"])
    assert all(status["restartCount"] == 0 for status in after["status"]["containerStatuses"])
    workspace = aw.get(NAME, NAMESPACE)
    assert workspace["status"]["phase"] == "Running"
    assert workspace["status"].get("restarts", 0) == 0
    assert aw.in_agent(NAME, NAMESPACE, COMMIT).returncode == 0
    aw.delete(NAME, NAMESPACE)
    assert upgraded.project.file_at(f"palisade/{NAME}", "after.txt") == "work\n"


def test_what_is_new_works(upgraded: Upgraded):
    pool = {"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspacePool", "metadata": {"name": "new", "namespace": NAMESPACE}}
    apply(pool | {"spec": {"templateRef": {"name": "none"}, "replicas": 0}})
    # Its definition came after the operator of before had looked for it.
    eventually(
        "the operator to see a pool",
        lambda: kubectl_json("get", "agentworkspacepool", "new", "-n", NAMESPACE).get("status", {}).get("conditions"),
        timeout=120,
    )
    kubectl("delete", "agentworkspacepool", "new", "-n", NAMESPACE)


@pytest.mark.parametrize(("component", "namespace"), PROGRAMS)
def test_its_pods_show_their_metrics(upgraded: Upgraded, component: str, namespace: str):
    for pod in pods_of(component, namespace):
        page = kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:8080/proxy/metrics").stdout
        assert f'palisade_build_info{{component="{component}"' in page
