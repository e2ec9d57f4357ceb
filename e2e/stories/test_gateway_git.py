"""git through the gateway, to a real Gitea: from where the relay listens, with a real git, what a session may push arrives and nothing else does."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from e2e.gitea.api import ADMIN, call
from e2e.harness import probes
from e2e.harness import workspace as aw
from e2e.harness.shell import apply, eventually, kubectl, kubectl_json
from e2e.harness.world import EDIT_FILE, EDIT_REQUEST, EDITED_LINE, World

NAMESPACE = "story-gateway-git"
NAME = "pusher"
BRANCH = f"palisade/{NAME}"
REF = f"refs/heads/{BRANCH}"
RELAY = "http://127.0.0.1:4001/git"
# Looks for $A$B below the folders that the courier's user may read, and in all environments and command lines that it may. The two are
# never one in a command line or an environment of the search itself.
FIND = r"""
for place in /etc/palisade /var/lib/courier /var/run /run /seed /tmp /dev/shm /dev/termination-log /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do
  printf '%s%s' "$A" "$B" | grep -rlaF -D skip -f - "$place" 2>/dev/null
done | sort -u
"""


def in_courier(script: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in the courier's container: the one place beside the relay itself that its git port is for."""
    return kubectl("exec", f"{NAME}-agent", "-n", NAMESPACE, "-c", "courier", "--", "sh", "-c", script, check=False, timeout=timeout)


def git(script: str, *, work: str = "probe") -> subprocess.CompletedProcess[str]:
    """git commands, one a line, in a clone of their own; the first that fails ends them."""
    setup = [
        "set -eu",
        f"mkdir -p /var/lib/courier/{work} && cd /var/lib/courier/{work}",
        "export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 LC_ALL=C",
        "export GIT_AUTHOR_NAME=Agent GIT_AUTHOR_EMAIL=agent@example.com GIT_COMMITTER_NAME=Agent GIT_COMMITTER_EMAIL=agent@example.com",
    ]
    return in_courier("\n".join([*setup, script]))


def commit(text: str) -> str:
    return f"echo {shlex.quote(text)} >> notes && git add notes && git commit -q -m {shlex.quote(text)}"


@pytest.fixture(scope="module")
def project(world: World):
    project = world.project("gateway-git")
    aw.create_namespace(NAMESPACE, project.token)
    apply(
        aw.manifest(NAME, NAMESPACE, project.url, message=None),
        aw.manifest("worker", NAMESPACE, project.url, message=EDIT_REQUEST, files=[EDIT_FILE]),
    )
    aw.wait_phase(NAME, NAMESPACE, "Running")
    kubectl("wait", f"pod/{NAME}-agent", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s", timeout=130)
    done = git(f"git init -q -b {BRANCH} . && git remote add origin {RELAY} && git fetch -q origin && git reset -q --hard origin/main")
    assert done.returncode == 0, done.stderr
    yield project
    for name in (NAME, "worker"):
        aw.delete(name, NAMESPACE)


def record() -> list[dict]:
    return [line for line in aw.gateway_record(NAME, NAMESPACE, "git") if line.get("command") == "push" and line.get("request") == "pack"]


def test_a_sessions_work_arrives(project):
    """The courier's own push, through the relay and the gateway."""
    aw.wait_phase("worker", NAMESPACE, "Succeeded", timeout=240)
    assert EDITED_LINE in project.file_at("palisade/worker", EDIT_FILE)
    lines = [line for line in aw.gateway_record("worker", NAMESPACE, "git") if line["command"] == "push"]
    assert any(line["verdict"] == "allowed" and line.get("ref") == "refs/heads/palisade/worker" for line in lines), lines
    assert {line["repository"] for line in lines} == {project.url}


def test_the_branch_is_made_goes_on_and_merges(project):
    done = git(f"{commit('one')}\ngit push origin HEAD:{REF}\n{commit('two')}\ngit push --atomic origin HEAD:{REF}\ngit rev-parse HEAD")
    assert done.returncode == 0, done.stderr
    assert project.commits(BRANCH)[0]["sha"] == done.stdout.split()[-1]
    # Main goes on, and is merged.
    content = {"content": "bWFpbgo=", "message": "Go on", "branch": "main"}
    call("POST", f"/repos/{ADMIN}/{project.name}/contents/theirs", content)
    done = git(f"git fetch -q origin\ngit merge -q --no-ff -m Merge origin/main\ngit push origin HEAD:{REF}\ngit rev-parse HEAD")
    assert done.returncode == 0, done.stderr
    assert project.commits(BRANCH)[0]["sha"] == done.stdout.split()[-1]


def test_more_than_a_buffer_full(project):
    done = git(f"head -c 6000000 /dev/urandom > large\ngit add large\ngit commit -q -m large\ngit push origin HEAD:{REF}\ngit rev-parse HEAD")
    assert done.returncode == 0, done.stderr
    assert project.commits(BRANCH)[0]["sha"] == done.stdout.split()[-1]


REFUSED = {
    "another branch": ("git push origin HEAD:refs/heads/other", "other_ref", f"only the branch {BRANCH} may be pushed"),
    "main": ("git push origin HEAD:refs/heads/main", "other_ref", "only the branch"),
    "another session's branch": ("git push --force origin HEAD:refs/heads/palisade/worker", "other_ref", "only the branch"),
    "a review": ("git push origin HEAD:refs/for/main", "other_ref", "only the branch"),
    "a tag": ("git tag -f v1\ngit push origin refs/tags/v1", "tag", "tags may not be pushed"),
    "an annotated tag beside it": (f"git tag -f -a -m v2 v2\n{commit('tagged')}\ngit push origin HEAD:{REF} v2", "tag", "tags may not be pushed"),
    "a deletion": (f"git push origin :{REF}", "deletion", "may not be deleted"),
    "main's deletion": ("git push origin :refs/heads/main", "deletion", "may not be deleted"),
    "everything": ("git push --mirror origin", "deletion", "may not be deleted"),
    "two branches": (f"{commit('both')}\ngit push origin HEAD:{REF} HEAD:refs/heads/two", "other_ref", "only the branch"),
    "two branches, all or none": (f"{commit('all')}\ngit push --atomic origin HEAD:{REF} HEAD:refs/heads/two", "other_ref", "only the branch"),
    "another history": (
        f"git switch -q --orphan alone\n{commit('alone')}\ngit push --force origin HEAD:{REF} || {{ git switch -q {BRANCH}; exit 1; }}",
        "not_fast_forward",
        "fast-forward",
    ),
    "an older commit": (f"git push --force origin origin/main:{REF}", "not_fast_forward", "cannot be shown to be a fast-forward"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_is_refused_in_words(project, what):
    script, code, said = REFUSED[what]

    def state() -> list[tuple[str, str]]:
        branches = call("GET", f"/repos/{ADMIN}/{project.name}/branches")
        tags = call("GET", f"/repos/{ADMIN}/{project.name}/tags")
        return sorted((one["name"], one["commit"].get("id") or one["commit"]["sha"]) for one in [*branches, *tags])

    before, lines = state(), len(record())
    done = git(script)
    assert done.returncode != 0, f"{what} went through: {done.stderr}"
    assert "remote: palisade: " in done.stderr and said in done.stderr and "[remote rejected]" in done.stderr, done.stderr
    assert state() == before
    new = eventually("the record to tell of it", lambda: record()[lines:], timeout=20)
    assert new[-1]["code"] == code and new[-1]["verdict"] == "refused", new


def test_what_the_host_offers_beyond_that_is_not_offered(project):
    done = git(f"{commit('option')}\ngit push -o topic=x origin HEAD:{REF}")
    assert done.returncode != 0 and "does not support push options" in done.stderr, done.stderr
    done = git(f"git push origin HEAD:{REF}")
    assert done.returncode == 0, done.stderr


def test_a_shallow_clone_is_told_what_to_do(project):
    done = git(f"git clone -q --depth 1 -b {BRANCH} {RELAY} .\n{commit('shallow')}\ngit push origin HEAD:{REF}", work="shallow")
    assert done.returncode != 0 and "git fetch --unshallow" in done.stderr, done.stderr


def test_no_other_repository_can_be_named(project, world: World):
    """The relay's port knows no repository but the workspace's, whatever is asked for; and the dumb protocol is not served."""
    other = world.project("gateway-git-other")
    for url in (f"http://127.0.0.1:4001/{ADMIN}/{other.name}.git", f"{RELAY}/{ADMIN}/{other.name}.git", f"{RELAY}/../{ADMIN}/{other.name}.git"):
        done = git(f"git ls-remote {url}")
        assert done.returncode != 0, f"{url}: {done.stdout}"
    done = git(f"GIT_SMART_HTTP=0 git ls-remote {RELAY}")
    assert done.returncode != 0 and "remote: palisade: only git's smart HTTP" in done.stderr, done.stderr


def test_the_token_is_nowhere_in_the_pod(project):
    def places(needle: str) -> list[str]:
        half = len(needle) // 2
        done = in_courier(f"A={shlex.quote(needle[:half])}\nB={shlex.quote(needle[half:])}\n{FIND}")
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    planted = in_courier("printf 'palisade-%s' canary-4711 > /var/lib/courier/planted")
    assert planted.returncode == 0, planted.stderr
    assert places("palisade-canary-4711") == ["/var/lib/courier/planted"], "the search finds what is there"
    assert places(project.token) == []
    assert json.loads(aw.in_agent(NAME, NAMESPACE, probes.find(project.token), timeout=120).stdout)["places"] == []
    # Nor is it in anything that the cluster holds for the pod.
    pod = kubectl_json("get", "pod", f"{NAME}-agent", "-n", NAMESPACE)
    for volume in pod["spec"]["volumes"]:
        assert "secret" not in volume, volume
    assert kubectl("get", "secret", f"{NAME}-git", "-n", NAMESPACE, check=False).returncode != 0
    assert len(aw.gateway_tokens(NAME, NAMESPACE)) == 1
    assert project.token not in aw.gateway_logs()
