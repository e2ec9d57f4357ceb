"""Prometheus and promtool from Debian's package, unpacked and not installed (an installed one starts a service); and the chart's alerts."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
TOOLS = pathlib.Path(os.environ.get("PALISADE_TOOLS_BIN", ROOT / "build/tools/bin"))
FOLDER = ROOT / "build/prometheus"


def download(folder: pathlib.Path) -> list[pathlib.Path]:
    command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", "prometheus"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if run.returncode:  # the lists of packages may be missing or old
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True)
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    packages = sorted(folder.glob("prometheus_*.deb"))
    if run.returncode or not packages:
        raise SystemExit(f"Debian's package prometheus cannot be downloaded:\n{run.stderr}")
    return packages


def program(name: str) -> str:
    """`prometheus` or `promtool`."""
    path = FOLDER / "usr/bin" / name
    if not path.exists():
        FOLDER.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as fresh:
            packages = download(pathlib.Path(fresh))
            # Whole or not at all: an unpacking that was cut off leaves nothing that looks like a program.
            unpacked = pathlib.Path(fresh) / "unpacked"
            subprocess.run(["dpkg-deb", "-x", packages[-1], unpacked], check=True)
            shutil.rmtree(FOLDER, ignore_errors=True)
            unpacked.rename(FOLDER)
    return str(path)


def helm(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([TOOLS / "helm", *arguments], capture_output=True, text=True, check=False)


def alerts() -> list[dict]:
    """The groups of the chart's PrometheusRule, as it is installed."""
    done = helm("template", "palisade", str(ROOT / "charts/palisade"), "--show-only", "templates/monitoring.yaml", "--set", "monitoring.force=true",
                "--set", "monitoring.prometheusRule.enabled=true")
    if done.returncode:
        raise SystemExit(done.stderr)
    # A client that is asked for no server reads YAML and writes JSON.
    read = subprocess.run([TOOLS / "kubectl", "patch", "--local", "--type=merge", "-p", "{}", "-o", "json", "-f", "-"], input=done.stdout, text=True,
                          capture_output=True, check=False)
    if read.returncode:
        raise SystemExit(read.stderr)
    return json.loads(read.stdout)["spec"]["groups"]


class Server:
    """A Prometheus that scrapes once a second."""

    def __init__(self, url: str):
        self.url = url

    def ask(self, path: str, **query: str) -> dict:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def query(self, query: str) -> list[dict]:
        answer = self.ask("query", query=query)
        if answer["status"] != "success":
            raise AssertionError(f"{query}: {answer.get('error')}")
        result = answer["data"]["result"]
        return result if answer["data"]["resultType"] == "vector" else [{"value": result}]

    def until(self, query: str, seconds: float = 20) -> list[dict]:
        """What the query returns, once it returns anything; [] where it never does."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(query)) and time.monotonic() < deadline:
            time.sleep(0.3)
        return found


@contextlib.contextmanager
def running(directory: pathlib.Path, targets: dict[str, int], groups: list[dict]):
    """`targets`: component to the port of its metrics on loopback."""
    from control_plane import answers, child, free_port, wait_until
    (directory / "rules.json").write_text(json.dumps({"groups": groups}))
    (directory / "prometheus.json").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(directory / "rules.json")],
        "scrape_configs": [{"job_name": component, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for component, port in targets.items()]}))
    port, log = free_port(), directory / "prometheus.log"
    with child([program("prometheus"), f"--config.file={directory / 'prometheus.json'}", f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}"], log) as process:
        wait_until("prometheus", lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 60, process, log)
        yield Server(f"http://127.0.0.1:{port}")
