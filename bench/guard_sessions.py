"""Whole sessions, bare and under guard: Aider that edits, tests and commits with a scripted model on loopback, and a run of pytest."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
AGENT_IMAGE = ROOT / "build" / "images" / "palisade_aider_dev.tar"
UNPACKED = ROOT / "build" / "bench" / "aider"
PYTHON = "/usr/bin/python3"
NOBODY = 65534
REQUEST = "Make the greeting friendly"
MODEL = {
    "rules": [
        {"contains": "one-line Git commit message", "anywhere": True, "reply": "feat: greet in a friendly way"},
        {"contains": REQUEST, "reply": "greet.py\n```python\n<<<<<<< SEARCH\nHELLO = 'hello'\n=======\nHELLO = 'dear all'\n>>>>>>> REPLACE\n```\n"},
    ],
    "default": "I have nothing to say to that.",
    "keys": {"/v1": "none"},
}
TEST = "import greet\n\n\ndef test_greeting():\n    assert greet.HELLO\n"


def aider_packages() -> pathlib.Path | None:
    """Aider's packages out of the agent's image, as scripts/images makes it; None where there is none."""
    packages = UNPACKED / "opt/aider/lib"
    if not packages.exists():
        if not AGENT_IMAGE.exists():
            return None
        with tarfile.open(AGENT_IMAGE) as image:
            for layer in json.load(image.extractfile("manifest.json"))[0]["Layers"]:
                with tarfile.open(fileobj=image.extractfile(layer)) as files:
                    members = [m for m in files if m.name.startswith("opt/aider/lib")]
                    files.extractall(UNPACKED, members, filter="tar")
    [site] = packages.glob("python3*/site-packages")
    return site


def policy(folder: pathlib.Path, workspace: pathlib.Path, libraries: list[str], port: int) -> pathlib.Path:
    """As the operator writes it for a task with a test command."""
    path = folder / "session.json"
    path.write_text(json.dumps({
        "version": "palisade.dev/guard/v1",
        "exec": {"commands": ["sh", "python3"], "libraries": ["/usr/lib", "/usr/lib64", "/lib", "/lib64", *libraries]},
        "files": {"read": ["/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc", "/sys", str(workspace), *libraries], "write": [str(workspace)]},
        "network": {"connect": [{"cidr": "127.0.0.1/32", "port": port}], "ownListeners": True},
        "record": {"path": str(folder / "record" / "session.jsonl"), "maxBytes": 1 << 30},
    }))  # fmt: skip
    return path


class Sessions:
    def __init__(self, folder: pathlib.Path, guard: pathlib.Path) -> None:
        self.folder, self.guard = folder, guard
        self.workspace = folder / "session"
        self.workspace.mkdir()
        self.site = aider_packages()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        script = folder / "model.json"
        script.write_text(json.dumps(MODEL))
        server = str(ROOT / "e2e" / "llm" / "server.py")
        self.model = subprocess.Popen([sys.executable, server, str(script), str(self.port)], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise SystemExit("the scripted model did not start within 30 s") from None
                time.sleep(0.1)
        # pytest is the stories' own: scripts/e2e makes that environment.
        self.tools = next(iter((ROOT / "build" / "venv").glob("lib/python3*/site-packages")), None)
        self.libraries = [str(place) for place in (self.site, self.tools) if place]
        self.policy = policy(folder, self.workspace, self.libraries, self.port)
        self.left: dict[bool, list[str]] = {}  # what a session left behind, with guard and without

    def close(self) -> None:
        self.model.terminate()
        self.model.wait(10)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.workspace),
            "TMPDIR": str(self.workspace),
            "PYTHONPATH": os.pathsep.join(self.libraries),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENAI_API_BASE": f"http://127.0.0.1:{self.port}/v1",
            "OPENAI_API_KEY": "none",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            **{f"GIT_{who}_{what}": "bench" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def run(self, *command: str) -> str:
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        cwd = self.workspace / "repo"
        done = subprocess.run(command, cwd=cwd, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, **who)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def under_guard(self, *command: str) -> tuple[str, ...]:
        return (str(self.guard), "run", "--policy", str(self.policy), "--termination-log", "", "--", *command)

    def repository(self, tests: int = 0) -> None:
        for entry in self.workspace.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        repo = self.workspace / "repo"
        repo.mkdir()
        (repo / "greet.py").write_text("HELLO = 'hello'\n")
        (repo / "test_greet.py").write_text(TEST)
        for number in range(tests):
            (repo / f"test_many_{number}.py").write_text(
                "import json, subprocess, sys, threading\nimport pytest\n\n\n@pytest.mark.parametrize('n', range(100))\ndef test_work(n, tmp_path):\n"
                "    path = tmp_path / 'x'\n    path.write_text(json.dumps(list(range(n))))\n    assert len(json.loads(path.read_text())) == n\n"
                "    thread = threading.Thread(target=sum, args=(range(n),))\n    thread.start()\n    thread.join()\n\n\n"
                "def test_child():\n    assert subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True).stdout == b'1\\n'\n"
            )
        os.chown(self.workspace, NOBODY, NOBODY)
        for top, folders, files in os.walk(repo):
            for name in (".", *folders, *files):
                os.chown(os.path.join(top, name), NOBODY, NOBODY)
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
            self.run("/usr/bin/git", *command)

    def timed(self, command: tuple[str, ...], tests: int) -> float:
        self.repository(tests)
        start = time.monotonic()
        self.run(*command)
        return time.monotonic() - start

    def aider(self, guarded: bool) -> float:
        command = (PYTHON, "-m", "aider", "--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-show-release-notes",
                   "--no-gitignore", "--no-suggest-shell-commands", "--disable-playwright", "--yes-always", "--no-pretty", "--model", "openai/gpt-4o",
                   "--edit-format", "diff", "--auto-lint", "--lint-cmd", "python: python3 -m tabnanny -v",
                   "--test-cmd", "python3 -c 'import greet; assert greet.HELLO; print(greet.HELLO)'", "--auto-test",
                   "--message=" + REQUEST, "--file=greet.py")  # fmt: skip
        took = self.timed(self.under_guard(*command) if guarded else command, 0)
        log = self.run("/usr/bin/git", "log", "--format=%s", "main")
        if "feat: greet" not in log or "dear all" not in (self.workspace / "repo" / "greet.py").read_text():
            raise SystemExit(f"the session {'under guard' if guarded else 'without guard'} did not edit and commit: {log}")
        self.left[guarded] = self.outcome()
        if len(self.left) == 2 and self.left[True] != self.left[False]:
            changes = "\n".join(difflib.unified_diff(self.left[False], self.left[True], "without guard", "under guard", lineterm="", n=0))
            raise SystemExit(f"a session under guard left something else behind:\n{changes}")
        return took

    def outcome(self) -> list[str]:
        """All that a session leaves: each commit with its message, author and tree, what is not committed, and each file with its mode and content."""
        lines = [self.run("/usr/bin/git", "log", "--format=%s|%an|%ae|%T", "--all"), self.run("/usr/bin/git", "status", "--porcelain", "--ignored")]
        lines.append(self.run("/usr/bin/git", "fsck", "--strict"))
        repo = self.workspace / "repo"
        for path in sorted(repo.rglob("*")):
            name = path.relative_to(repo)
            # git's own files hold times; Aider's history and cache do too.
            if name.parts[0] == ".git" or name.parts[0].startswith(".aider"):
                continue
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            lines.append(f"{name} {path.lstat().st_mode:o} {content}")
        said = (repo / ".aider.chat.history.md").read_text()
        # What Aider shows of the lint's and the test's output and of its own commits; hashes and times differ.
        lines += [re.sub("[0-9a-f]{7,}", "HASH", line) for line in said.splitlines() if not line.startswith("# aider chat started") and str(self.folder) not in line]
        return lines

    def pytest(self, guarded: bool) -> float:
        command = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:timeout")
        return self.timed(self.under_guard(*command) if guarded else command, 20)
