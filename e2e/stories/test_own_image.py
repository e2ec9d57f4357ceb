"""An image of a team's own: Aider in another place, started by a shell script, for another user, and with programs of the team's beside it.

Nothing of Palisade is in it, and nothing in it was changed for Palisade.
"""

from __future__ import annotations

import io
import json
import pathlib
import subprocess
import tarfile
from typing import Any

import pytest

from e2e.harness import workspace as aw
from e2e.harness.shell import ROOT, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, World

NAMESPACE = "story-own-image"
NAME = "own"
IMAGE = "localhost/team/aider:own"
ARCHIVE = ROOT / "build/images/team_aider_own.tar"
# A virtual environment as `pipx` makes it, below another folder; a start script, as many teams have; a tool of theirs. PATH is the image's, and so is its user,
# whom Kubernetes would not let run as non-root.
DOCKERFILE = """ARG BASE
FROM ${BASE}
COPY packages/ /opt/team/pipx/venvs/aider-chat/lib/python3.11/site-packages/
COPY --chmod=0755 aider /opt/team/bin/aider
COPY --chmod=0755 team-tool /opt/team/bin/team-tool
RUN python3 -m venv --without-pip /opt/team/pipx/venvs/aider-chat
ENV PATH=/opt/team/bin:/usr/bin:/bin LANG=C.UTF-8
ENTRYPOINT ["/opt/team/bin/aider", "--dark-mode"]
"""
START = """#!/bin/sh
# What a team's image starts Aider with.
exec /opt/team/pipx/venvs/aider-chat/bin/python -m aider "$@"
"""


def packages_of_the_agents_image(into: pathlib.Path) -> None:
    """Aider and what it needs, out of the image that Palisade's own agent runs in."""
    with tarfile.open(ROOT / "build/images/palisade_aider_dev.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(archive.extractfile(layer).read())) as files:
                for member in files:
                    parts = pathlib.PurePosixPath(member.name).parts
                    if "site-packages" not in parts or parts[:2] != ("opt", "aider"):
                        continue
                    member.name = str(pathlib.PurePosixPath(*parts[parts.index("site-packages") + 1 :]))
                    if member.name != "." and (member.isfile() or member.isdir()):
                        files.extract(member, into)
    assert (into / "aider/__main__.py").is_file()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory):
    """The image, in the cluster's containerd; its archive goes afterwards."""
    folder = tmp_path_factory.mktemp("own-image")
    context = folder / "context"
    (context / "packages").mkdir(parents=True)
    packages_of_the_agents_image(context / "packages")
    (context / "aider").write_text(START)
    (context / "team-tool").write_text("#!/usr/bin/env python3\nprint('the team')\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for words in (["build", IMAGE, str(folder / "Dockerfile"), str(context)], ["load", IMAGE]):
        done = subprocess.run([ROOT / "e2e/cluster/image", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    yield IMAGE
    for path in (ARCHIVE, ARCHIVE.with_name(ARCHIVE.name + ".stamp")):
        path.unlink()


@pytest.fixture(scope="module")
def finished(image: str, world: World):
    project = world.project("own-image")
    aw.create_namespace(NAMESPACE, project.token)
    manifest = aw.manifest(NAME, NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE])
    manifest["spec"]["agent"]["image"] = image
    kubectl("apply", "-f", "-", stdin=world.json(manifest))
    return project, aw.wait_phase(NAME, NAMESPACE, "Succeeded", timeout=300)


def test_aider_of_another_image_edits_commits_and_pushes(finished):
    project, workspace = finished
    assert EDITED_LINE in project.file_at(f"palisade/{NAME}", EDIT_FILE)
    assert workspace["status"]["commits"] >= 1


def test_it_runs_as_the_policy_asks_whatever_the_image_says(finished, image: str):
    pod = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
    (agent,) = pod["spec"]["containers"]
    assert agent["image"] == image
    assert agent["securityContext"]["runAsNonRoot"] is True and agent["securityContext"]["readOnlyRootFilesystem"] is True
    assert agent["command"][0] == "/palisade/bin/palisade-guard", "the image's own entry point would run without guard"
    assert agent["securityContext"]["runAsUser"] == 1001, "the image's user is root"


def test_guard_has_recorded_the_images_own_programs(finished):
    started = {entry["process"]["file"]["path"] for entry in record() if entry["unmapped"]["palisade"]["event"] == "ExecStarted"}
    assert "/opt/team/bin/aider" in started, "the start script"
    assert any(path.startswith("/usr/bin/python3") for path in started), started
    assert any(path.endswith("/git") for path in started), started
    refused = [entry["unmapped"]["palisade"] for entry in record() if entry["unmapped"]["palisade"]["event"] == "Refused"]
    programs = {pathlib.PurePosixPath(one["target"]).name for one in refused if one["rule"].startswith("exec.")}
    assert programs <= {"uname"}, "only what Python's platform module asks for in any image"


def record() -> list[dict[str, Any]]:
    lines = kubectl("logs", f"{NAME}-agent", "-n", NAMESPACE, "-c", "recorder", "--tail=-1").stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
