"""What outlives a session, in a bucket: whole once its pod is gone, with the bucket's server away in the middle."""

from __future__ import annotations

import json
import os

import pytest

from e2e.harness import bucket
from e2e.harness import workspace as aw
from e2e.harness.archived import assert_from_start_to_end, assert_has_what_was_printed
from e2e.harness.shell import ROOT, apply, eventually, kubectl, kubectl_json, run
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, GATEWAY, World, install_palisade

NAMESPACE = "story-archive-s3"
CREDENTIALS = "archive-bucket"
PREFIX = "clusters/e2e"
PROGRAM = ROOT / os.environ.get("PALISADE_BIN", "build/release/bin") / "palisade"


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("archive-s3")
    aw.create_namespace(NAMESPACE, project.token)
    bucket.create()
    try:
        # The gateway's namespace is there since the world was made.
        apply(bucket.secret(CREDENTIALS, GATEWAY))
        install_palisade(archive=bucket.values(PREFIX, CREDENTIALS))
        apply(aw.manifest("task", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE]))
        yield project
    finally:
        for name in ("task", "open"):
            aw.delete(name, NAMESPACE)
        install_palisade()
        kubectl("delete", "secret", CREDENTIALS, "-n", GATEWAY, "--ignore-not-found")
        bucket.down()


def session(name: str) -> str:
    """The key of all that is kept of the workspace's present pod."""
    pod = kubectl_json("get", "pod", f"{name}-agent", "-n", NAMESPACE)["metadata"]["uid"]
    return f"{PREFIX}/{NAMESPACE}/{name}/{aw.get(name, NAMESPACE)['metadata']['uid']}/{pod}"


def has_begun(key: str) -> bool:
    record = bucket.folder(f"{key}/record")
    return record.is_dir() and any(record.iterdir())


def test_a_session_is_whole_in_the_bucket_once_its_pod_is_gone(project):
    workspace = aw.wait_phase("task", NAMESPACE, "Succeeded", timeout=240)
    archived = aw.wait_condition("task", NAMESPACE, "Archived", "True", "Complete")
    kept = session("task")
    location = workspace["status"]["archive"]["location"]
    assert location == f"s3://{bucket.BUCKET}/{kept.rpartition('/')[0]}" and location in archived["message"]
    shown = kubectl("logs", "task-agent", "-n", NAMESPACE, "-c", "recorder").stdout
    printed = kubectl("logs", "task-agent", "-n", NAMESPACE, "-c", "aider").stdout
    kubectl("delete", "pod", "task-agent", "-n", NAMESPACE, "--timeout=90s")

    record, output = bucket.stream(f"{kept}/record"), bucket.stream(f"{kept}/output")
    assert record == shown
    assert_from_start_to_end(record)
    assert EDIT_FILE in output
    assert_has_what_was_printed(output, printed)
    sizes = {"record": len(record.encode()), "output": len(output.encode())}
    assert json.loads((bucket.folder(kept) / "complete.json").read_text()) == sizes
    assert bucket.has_ended(f"{kept}/record") and bucket.has_ended(f"{kept}/output")
    assert sorted(one.name for one in bucket.folder(kept).iterdir()) == ["complete.json", "output", "record"]
    workspace = aw.get("task", NAMESPACE)
    assert workspace["status"]["archive"]["bytes"] == sum(sizes.values()) and workspace["status"]["archive"]["complete"] is True
    assert not [one for one in (project.token, "Bearer ", bucket.KEY) if one in output or one in shown]
    assert not [line for line in aw.gateway_record("task", NAMESPACE, "archive") if line["verdict"] != "allowed"]


def test_it_is_read_as_the_document_says(project, tmp_path):
    kept = next(bucket.folder(f"{PREFIX}/{NAMESPACE}/task").glob("*/*"))
    run(["bash", "-c", f"cat {kept}/record/* > {tmp_path}/record.jsonl && cat {kept}/output/* > {tmp_path}/output.log"])
    read = run([str(PROGRAM), "audit", "--file", str(tmp_path), "-o", "json"], check=False)
    assert read.returncode in (0, 1), read.stderr
    assert read.stdout == (tmp_path / "record.jsonl").read_text()
    gone = run([str(PROGRAM), "logs", "task", "-n", NAMESPACE], check=False)
    assert gone.returncode == 2 and f"s3://{bucket.BUCKET}/{PREFIX}/{NAMESPACE}/task" in gone.stderr, gone.stderr


def test_the_gateway_has_no_volume_and_nobody_else_the_credentials(project):
    pods = kubectl_json("get", "pods", "-n", GATEWAY, "-l", "app.kubernetes.io/component=gateway")["items"]
    assert pods and not [volume for pod in pods for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    everything = kubectl("get", "pods,configmaps,secrets", "-n", NAMESPACE, "-o", "json").stdout
    assert bucket.KEY not in everything and CREDENTIALS not in everything
    assert bucket.KEY not in aw.gateway_logs()


def test_a_server_that_is_away_loses_nothing(project):
    bucket.down()
    try:
        apply(aw.manifest("open", NAMESPACE, project.url, message=None))
        aw.wait_phase("open", NAMESPACE, "Running")
        kubectl("wait", "pod/open-agent", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", timeout=130)
        kept = session("open")

        def refusals() -> list[str] | None:
            return [line["reason"] for line in aw.gateway_record("open", NAMESPACE, "archive") if line["verdict"] == "failed"] or None

        reasons = eventually("the gateway to say that the bucket is away", refusals, timeout=60)
        assert all(f"{bucket.ENDPOINT} does not answer" in reason for reason in reasons), reasons
    finally:
        bucket.up()
    # The relay tries again every 30 seconds at least.
    eventually("the session's start to be archived", lambda: has_begun(kept) or None, timeout=90)
    kubectl("delete", "pod", "open-agent", "-n", NAMESPACE, "--timeout=120s", timeout=130)
    eventually("the session to be whole", lambda: (bucket.folder(kept) / "complete.json").exists() or None, timeout=60)
    assert_from_start_to_end(bucket.stream(f"{kept}/record"))
