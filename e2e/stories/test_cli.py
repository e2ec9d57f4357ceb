"""The developer's half of the command line, against a real kubelet: a task from create to delete, and a person at a terminal."""

from __future__ import annotations

import os
import pathlib
import pty
import select
import subprocess
import termios
import time

import pytest

from e2e.gitea.api import CA, Project
from e2e.harness import workspace as aw
from e2e.harness.shell import KUBECONFIG, ROOT, run
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, World

NAMESPACE = "story-cli"
PROGRAM = ROOT / os.environ.get("PALISADE_BIN", "build/release/bin") / "palisade"


@pytest.fixture(scope="module")
def project(world: World) -> Project:
    made = world.project("cli")
    aw.create_namespace(NAMESPACE, made.token)
    return made


def palisade(*arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return run([str(PROGRAM), *arguments, "-n", NAMESPACE], check=check, timeout=timeout)


def test_a_task_from_create_to_delete(project: Project, tmp_path: pathlib.Path):
    issue = tmp_path / "issue.md"
    issue.write_text(f"{EDIT_REQUEST}\n")
    made = palisade(
        "create", "spaces", "--repo", project.url, "--git-secret", "git-token/token", "-F", str(issue), "--file", EDIT_FILE,
        "--limit", "memory=2Gi", "--deadline", "10m", "--wait=finished", "--timeout", "4m",
    )
    assert f"AgentWorkspace {NAMESPACE}/spaces: Succeeded" in made.stdout
    assert "\x1b" not in made.stderr

    # The user's own git: their authority for the host, their token.
    helper = f"!f() {{ echo username=x; echo password={project.token}; }}; f"
    (tmp_path / "gitconfig").write_text(f'[credential]\n  helper = "{helper}"\n')
    environment = dict(os.environ, KUBECONFIG=str(KUBECONFIG), GIT_CONFIG_GLOBAL=str(tmp_path / "gitconfig"), GIT_SSL_CAINFO=str(CA), TMPDIR=str(tmp_path))
    shown = subprocess.run([PROGRAM, "diff", "spaces", "-n", NAMESPACE], env=environment, text=True, capture_output=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert f"+{EDITED_LINE}" in shown.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gitconfig", "issue.md"]

    assert EDIT_FILE in palisade("logs", "spaces").stdout
    approved = palisade("approve", "spaces", check=False)
    assert approved.returncode == 1 and "opened no merge request" in approved.stderr
    gone = palisade("delete", "spaces").stdout
    assert "Removed: the session's copy of the token in Secret git-token" in gone
    assert "Stays: branch palisade/spaces" in gone
    assert palisade("status", "spaces", check=False).returncode == 2


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *argv: str) -> None:
        self.outer, self.inner = pty.openpty()
        self.before = termios.tcgetattr(self.inner)
        environment = dict(os.environ, KUBECONFIG=str(KUBECONFIG), TERM="xterm")
        self.process = subprocess.Popen(argv, stdin=self.inner, stdout=self.inner, stderr=self.inner, env=environment, start_new_session=True)
        self.shown = ""

    def wait_for(self, text: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not shown: {self.shown[-2000:]!r}"
            if select.select([self.outer], [], [], 0.2)[0]:
                self.shown += os.read(self.outer, 65536).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self.outer, keys.encode())

    def close(self) -> int:
        code = self.process.wait(timeout=60)
        assert termios.tcgetattr(self.inner) == self.before, "the terminal is not as it was"
        os.close(self.outer)
        os.close(self.inner)
        return code


def test_a_person_attaches_leaves_and_ends_the_session(project: Project):
    palisade("create", "shell", "--interactive", "--repo", project.url, "--git-secret", "git-token/token", "--deadline", "10m", "--wait")
    first = Terminal(str(PROGRAM), "attach", "shell", "-n", NAMESPACE)
    first.wait_for("Attached to")
    first.type("/ls\r")
    first.wait_for(EDIT_FILE)
    first.type("\x10\x11")
    first.wait_for("The session goes on")
    assert first.close() == 0
    assert aw.phase("shell", NAMESPACE) == "Running"

    again = Terminal(str(PROGRAM), "attach", "shell", "-n", NAMESPACE)
    again.wait_for("Attached to")
    again.type("/exit\r")
    again.wait_for("The session has ended", timeout=90)
    assert again.close() == 0
    aw.delete("shell", NAMESPACE)
