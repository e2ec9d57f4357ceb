"""python3 -m e2e.gitea up | down | status"""

from __future__ import annotations

import argparse
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import ssl

from e2e.cluster import pki, processes, settings
from e2e.cluster.processes import Failed
from e2e.gitea import api

STATE = settings.STATE / "gitea"
USER = "nobody"  # Gitea refuses to run as root


def _as_user(*argv: str) -> list[str]:
    return ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--no-new-privs", "env", "-i", "PATH=/usr/bin:/bin", f"HOME={STATE / 'home'}",
            f"USER={USER}", "GIT_CONFIG_NOSYSTEM=1", *argv]  # fmt: skip


def _configure() -> None:
    folder = STATE / "pki"
    pki.authority(folder, "palisade-e2e-git")
    pki.issue(folder, "gitea", "/CN=gitea", names=[f"IP:{settings.GIT_IP}"], mode=0o640)
    static = (settings.ROOT / "build" / "tools" / "gitea-static").read_text().strip()
    # Gitea runs as another user, who may not be able to look below our home: what it needs is copied.
    assets = STATE / "static"
    if not assets.exists():
        assets.mkdir(parents=True)
        for part in ("options", "templates", "public"):
            shutil.copytree(pathlib.Path(static) / part, assets / part, dirs_exist_ok=True)
        subprocess.run(["chmod", "-R", "u+rwX,go+rX", str(assets)], check=True)
    (STATE / "app.ini").write_text(
        f"""APP_NAME = palisade-e2e
RUN_USER = {USER}
WORK_PATH = {STATE}/work
[server]
PROTOCOL = https
HTTP_ADDR = {settings.GIT_IP}
HTTP_PORT = {settings.GIT_PORT}
ROOT_URL = {api.URL}/
CERT_FILE = {folder}/gitea.pem
KEY_FILE = {folder}/gitea-key.pem
STATIC_ROOT_PATH = {assets}
OFFLINE_MODE = true
DISABLE_SSH = true
[database]
DB_TYPE = sqlite3
PATH = {STATE}/work/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = {secrets.token_hex(32)}
[repository]
DEFAULT_BRANCH = main
[service]
DISABLE_REGISTRATION = true
[log]
LEVEL = warn
MODE = console
[cron.update_checker]
ENABLED = false
"""
    )
    for path in (STATE / "work", STATE / "home"):
        path.mkdir(exist_ok=True)
    subprocess.run(["chown", "-R", f"{USER}:nogroup", str(STATE)], check=True)
    # Every folder above must let that user pass.
    folder = STATE
    while folder != pathlib.Path("/"):
        folder.chmod(folder.stat().st_mode | 0o011)
        folder = folder.parent


def _answers() -> bool:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(api.CA)))
    )
    try:
        with opener.open(api.URL + "/api/healthz", timeout=3) as answer:
            return answer.status == 200
    except OSError:
        return False


def up() -> None:
    if processes.running("gitea") and _answers():
        return
    if not processes.running("etcd"):
        raise Failed("the cluster is not up (its network is needed): e2e/cluster/cluster up")
    STATE.mkdir(parents=True, exist_ok=True)
    first = not (STATE / "app.ini").exists()
    if first:
        _configure()
    program = STATE / "gitea"
    if not program.exists():
        shutil.copy2(settings.BIN / "gitea", program)
        program.chmod(0o755)
    config = ["--config", str(STATE / "app.ini")]
    if first:
        processes.run(*_as_user(str(program), "migrate", *config))
        password = secrets.token_urlsafe(24)
        processes.run(*_as_user(str(program), "admin", "user", "create", "--admin", "--username", api.ADMIN, "--password", password,
                                "--email", "admin@example.invalid", "--must-change-password=false", *config))  # fmt: skip
        (STATE / "admin-password").write_text(password)
        os.chmod(STATE / "admin-password", 0o600)
    processes.start("gitea", _as_user(str(program), "web", *config), directory=STATE)
    processes.wait_for("Gitea to answer", _answers, "gitea", 60)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m e2e.gitea")
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args().command
    try:
        if command == "up":
            up()
            print(f"  Gitea answers at {api.URL} (authority: {api.CA})")
        elif command == "down":
            processes.stop("gitea")
        else:
            print("running" if processes.running("gitea") else "not running")
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"gitea {command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
