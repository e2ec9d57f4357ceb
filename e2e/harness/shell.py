"""Running the real command-line tools (kubectl, helm) against the local cluster."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "tools" / "bin"
KUBECONFIG = ROOT / "build" / "cluster" / "kubeconfig"

T = TypeVar("T")


class CommandError(RuntimeError):
    """A command that failed; its text holds the command line, exit code and both outputs."""

    def __init__(self, argv: list[str], code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"{' '.join(argv)}: exit code {code}\n{stdout}{stderr}")
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


def run(argv: list[str], *, stdin: str | None = None, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs argv with the local cluster's kubeconfig; raises CommandError on a non-zero exit unless check is False."""
    environment = dict(os.environ, KUBECONFIG=str(KUBECONFIG), PATH=f"{TOOLS}:{os.environ.get('PATH', '')}")
    done = subprocess.run(argv, input=stdin, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stdout, done.stderr)
    return done


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run([str(TOOLS / "kubectl"), *arguments], stdin=stdin, timeout=timeout, check=check)


def kubectl_json(*arguments: str) -> Any:
    return json.loads(kubectl(*arguments, "-o", "json").stdout)


def apply(*objects: dict[str, Any]) -> str:
    """kubectl apply of the given objects; returns what kubectl printed."""
    return kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(o) for o in objects)).stdout


def eventually(what: str, probe: Callable[[], T | None], *, timeout: float = 120, interval: float = 0.5) -> T:
    """The first truthy value of probe(); TimeoutError naming `what` and the last value or error after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = probe()
            if value:
                return value
            last = value
        except CommandError as error:
            last = error
        time.sleep(interval)
    raise TimeoutError(f"{what}: not within {timeout:.0f} s; last seen: {last}")
