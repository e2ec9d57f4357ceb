"""Gitea's REST API, as far as the stories need it: repositories, bot users with tokens for one repository, branches, files."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from e2e.cluster import settings

CA = settings.STATE / "gitea" / "pki" / "ca.pem"
URL = f"https://{settings.GIT_IP}:{settings.GIT_PORT}"
ADMIN = "palisade-admin"


class ApiError(RuntimeError):
    """An answer that was not 2xx."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path}: {status} {body}")
        self.status = status


def call(method: str, path: str, body: Any = None, *, user: str = ADMIN, password: str | None = None) -> Any:
    """One API call with basic authentication; the decoded answer, or None where it is empty."""
    secret = password or (settings.STATE / "gitea" / "admin-password").read_text()
    request = urllib.request.Request(URL + "/api/v1" + path, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode())
    request.add_header("Content-Type", "application/json")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(CA))))
    try:
        with opener.open(request, timeout=30) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise ApiError(method, path, error.code, error.read().decode(errors="replace")) from error
    return json.loads(text) if text else None


@dataclass
class Project:
    """A repository, and the token of a bot that collaborates on it alone: Gitea's tokens are scoped by kind, so the user gives the scope."""

    name: str
    url: str
    token: str
    bot: str  # a user that collaborates on it alone
    password: str  # the bot's

    def tokens(self) -> list[str]:
        """Names of the bot's tokens."""
        return [token["name"] for token in call("GET", f"/users/{self.bot}/tokens?limit=50", user=self.bot, password=self.password)]

    def pull_requests(self) -> list[dict[str, Any]]:
        return call("GET", f"/repos/{ADMIN}/{self.name}/pulls?state=all")

    def branches(self) -> list[str]:
        return [branch["name"] for branch in call("GET", f"/repos/{ADMIN}/{self.name}/branches")]

    def commits(self, branch: str) -> list[dict[str, Any]]:
        return call("GET", f"/repos/{ADMIN}/{self.name}/commits?sha={urllib.parse.quote(branch, safe='')}&limit=50")

    def file_at(self, branch: str, path: str) -> str:
        answer = call("GET", f"/repos/{ADMIN}/{self.name}/contents/{path}?ref={urllib.parse.quote(branch, safe='')}")
        return base64.b64decode(answer["content"]).decode()


def create_project(name: str, files: dict[str, str]) -> Project:
    """Makes (or makes anew) a private repository with one commit on main, and a bot with a token for it."""
    bot = f"bot-{name}"
    for path in (f"/repos/{ADMIN}/{name}", f"/admin/users/{bot}"):
        try:
            call("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise
    call("POST", "/user/repos", {"name": name, "private": True, "auto_init": False, "default_branch": "main"})
    changes = [
        {"operation": "create", "path": path, "content": base64.b64encode(text.encode()).decode()} for path, text in files.items()
    ]
    call("POST", f"/repos/{ADMIN}/{name}/contents", {"branch": "main", "message": "Start", "files": changes})
    password = secrets.token_urlsafe(24)
    call("POST", "/admin/users", {"username": bot, "email": f"{bot}@example.invalid", "password": password, "must_change_password": False})
    call("PUT", f"/repos/{ADMIN}/{name}/collaborators/{bot}", {"permission": "write"})
    made = call("POST", f"/users/{bot}/tokens", {"name": "palisade", "scopes": ["write:repository"]}, user=bot, password=password)
    return Project(name, f"{URL}/{ADMIN}/{name}.git", made["sha1"], bot, password)
