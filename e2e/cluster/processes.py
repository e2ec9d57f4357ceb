"""Processes that outlive this command: started detached, recorded by pid and start time, ended by that record alone."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from e2e.cluster import settings


class Failed(RuntimeError):
    """A step that did not work; the text says what and shows the log's end."""


def start_time(pid: int) -> str | None:
    """The kernel's start time of a live process (field 22 of /proc/PID/stat); None where there is none. Guards against reused pids."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else fields[19]


def _record(name: str) -> pathlib.Path:
    return settings.STATE / "processes" / f"{name}.json"


def running(name: str) -> int | None:
    """The pid of the recorded process of that name if it still runs."""
    try:
        record = json.loads(_record(name).read_text())
    except (OSError, ValueError):
        return None
    return record["pid"] if start_time(record["pid"]) == record["start"] else None


def start(name: str, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, directory: pathlib.Path | None = None) -> None:
    """Starts argv detached unless it runs already; its output goes to logs/NAME.log."""
    if running(name):
        return
    settings.LOGS.mkdir(parents=True, exist_ok=True)
    _record(name).parent.mkdir(parents=True, exist_ok=True)
    with open(settings.LOGS / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory or settings.ROOT,
            env=dict(os.environ, **(environment or {})),
            start_new_session=True,
        )
    _record(name).write_text(json.dumps({"pid": process.pid, "start": start_time(process.pid), "argv": list(argv)}))


def stop(name: str, patience: float = 15) -> None:
    """Ends the recorded process: SIGTERM, then SIGKILL after `patience` seconds."""
    pid = running(name)
    if pid is not None:
        end(pid, patience)
    _record(name).unlink(missing_ok=True)


def end(pid: int, patience: float) -> None:
    born = start_time(pid)
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        if born is None or start_time(pid) != born:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and start_time(pid) == born:
            time.sleep(0.05)


def recorded() -> list[str]:
    folder = settings.STATE / "processes"
    return sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []


def log_tail(name: str, lines: int = 25) -> str:
    try:
        return "\n".join((settings.LOGS / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def wait_for(what: str, probe: Callable[[], bool], name: str, timeout: float) -> None:
    """Waits until probe() is true; Failed with the tail of NAME's log if it does not come, or if the process ends first."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if probe():
            return
        if running(name) is None:
            raise Failed(f"{name} ended before {what}\n{log_tail(name)}")
        time.sleep(0.2)
    raise Failed(f"{what}: not within {timeout:.0f} s\n{log_tail(name)}")


def run(*argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
