"""Workspace shapes (repository.mount): an agent that writes where it should not reaches nothing, and its proper work arrives all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.harness import shapes
from e2e.harness import workspace as aw
from e2e.harness.redteam import pod_log
from e2e.harness.shell import apply, kubectl
from e2e.harness.world import World

NAMESPACE = "story-shapes"
READ_ONLY = "story-shapes-read-only"
REFUSALS = {"EROFS", "EACCES", "EPERM", "Refused"}


def told(name: str, namespace: str) -> dict[str, str]:
    """What became of each attempt, as the agent's container printed it."""
    log = pod_log(name, namespace, "aider")
    assert "STRAY-END" in log, log[-3000:]
    lines = [json.loads(line.removeprefix("STRAY ")) for line in log.splitlines() if line.startswith("STRAY {")]
    return {line["name"]: line["got"] for line in lines}


@pytest.fixture(scope="module")
def git_dir_only(world: World) -> tuple[Any, dict[str, Any]]:
    project = world.project("shapes", shapes.FILES)
    aw.create_namespace(NAMESPACE, project.token)
    workspace = aw.manifest("git-dir-only", NAMESPACE, project.url, message=None)
    workspace["spec"]["repository"]["mount"] = "GitDirOnly"
    workspace["spec"]["task"] = {"message": shapes.GIT_DIR_REQUEST, "files": [shapes.FILE, shapes.STRAY], "testCommand": ["python3", shapes.STRAY]}
    apply(workspace)
    return project, aw.wait_phase("git-dir-only", NAMESPACE, "Succeeded", timeout=240)


def test_a_stray_write_reaches_no_more_than_the_scratch_checkout(git_dir_only: tuple[Any, dict[str, Any]]):
    answers = told("git-dir-only", NAMESPACE)
    for name in (*shapes.READ, *shapes.OWN):
        assert answers.pop(name) == "through", name
    assert len(answers) == 11 and set(answers.values()) <= REFUSALS, answers


def test_the_commits_of_a_scratch_checkout_arrive(git_dir_only: tuple[Any, dict[str, Any]]):
    project, workspace = git_dir_only
    assert workspace["status"]["commits"] >= 1, workspace["status"]
    assert shapes.AFTER in project.file_at("palisade/git-dir-only", shapes.FILE)
    assert shapes.BEFORE in project.file_at("main", shapes.FILE)


@pytest.fixture(scope="module")
def read_only(world: World) -> tuple[Any, dict[str, Any]]:
    project = world.project("shapes-read-only", shapes.READ_ONLY_FILES)
    aw.create_namespace(READ_ONLY, project.token)
    workspace = aw.manifest("read-only", READ_ONLY, project.url, message=None)
    workspace["spec"]["repository"] |= {"mount": "ReadOnly", "outputDir": shapes.OUTPUT}
    files = [shapes.FILE, shapes.STRAY, f"{shapes.OUTPUT}/README.md"]
    workspace["spec"]["task"] = {"message": shapes.READ_ONLY_REQUEST, "files": files, "testCommand": ["python3", shapes.STRAY]}
    apply(workspace)
    return project, aw.wait_phase("read-only", READ_ONLY, "Succeeded", timeout=240)


def test_a_stray_write_reaches_no_more_than_the_output_directory(read_only: tuple[Any, dict[str, Any]]):
    answers = told("read-only", READ_ONLY)
    for name in (*shapes.READ_ONLY_OWN, *shapes.LEFT):
        assert answers.pop(name) == "through", name
    assert len(answers) == 8 and set(answers.values()) <= REFUSALS | {"EBUSY", "EXDEV"}, answers


def test_what_is_left_in_the_output_directory_is_one_commit(read_only: tuple[Any, dict[str, Any]]):
    project, workspace = read_only
    branch = "palisade/read-only"
    assert workspace["status"]["commits"] == 1, workspace["status"]
    assert shapes.REPORT_TEXT in project.file_at(branch, shapes.REPORT)
    assert project.file_at(branch, f"{shapes.OUTPUT}/extra.md") == "astray"
    assert project.file_at(branch, f"{shapes.OUTPUT}/README.md") == "# Reports\n"
    assert project.file_at(branch, shapes.FILE) == shapes.FILES[shapes.FILE], "the project was changed"


def test_what_was_left_out_is_told(read_only: tuple[Any, dict[str, Any]]):
    message = aw.condition("read-only", READ_ONLY, "Ready")["message"]
    assert "spec.repository.outputDir: .git has a name that means something to git and was left out, as were 4 more" in message, message


def test_an_idle_session_reads_the_project_and_cannot_write_it(world: World):
    project = world.project("shapes", shapes.FILES)
    aw.create_namespace("story-shapes-idle", project.token)
    workspace = aw.manifest("idle", "story-shapes-idle", project.url, message=None)
    workspace["spec"]["repository"]["mount"] = "GitDirOnly"
    apply(workspace)
    aw.wait_phase("idle", "story-shapes-idle", "Running")
    pod = kubectl("get", "pod", "idle-agent", "-n", "story-shapes-idle", "-o", "json").stdout
    aider = json.loads(pod)["spec"]["containers"][0]
    assert {mount["mountPath"]: mount.get("readOnly", False) for mount in aider["volumeMounts"]}["/palisade/project"]
    # The kernel's own word: exec'd programs have no guard above them, and the mount holds for them too.
    tried = aw.in_agent("idle", "story-shapes-idle", "open('/palisade/project/stray', 'w')")
    assert tried.returncode != 0 and "Read-only file system" in tried.stderr, tried.stderr
    history = aw.in_agent("idle", "story-shapes-idle", "import subprocess; print(subprocess.check_output(['git', 'log', '--oneline'], text=True))")
    assert history.returncode == 0, history.stderr
    aw.delete("idle", "story-shapes-idle")
