"""A real server that speaks S3 (versitygw), over TLS, beside the cluster: its buckets are folders, and objects their files."""

from __future__ import annotations

import pathlib
import shutil
import socket
from typing import Any

from e2e.cluster import pki, processes, settings

STATE = settings.STATE / "s3"
BUCKET = "agent-records"
REGION = "eu-central-1"
ENDPOINT = f"https://{settings.GIT_IP}:{settings.S3_PORT}"
KEY_ID = "AKIDPALISADE"
KEY = "e2e/71c0d9b25e+8f"
_PROCESS = "versitygw"


def _answers() -> bool:
    try:
        socket.create_connection((settings.GIT_IP, settings.S3_PORT), timeout=2).close()
    except OSError:
        return False
    return True


def create() -> None:
    """The server, with one empty bucket."""
    down()
    shutil.rmtree(STATE, ignore_errors=True)
    (STATE / "data" / BUCKET).mkdir(parents=True)
    pki.authority(STATE / "pki", "palisade-e2e-s3")
    pki.issue(STATE / "pki", "server", "/CN=versitygw", names=[f"IP:{settings.GIT_IP}"])
    up()


def up() -> None:
    certificate = ["--cert", str(STATE / "pki" / "server.pem"), "--key", str(STATE / "pki" / "server-key.pem")]
    who = ["--access", KEY_ID, "--secret", KEY, "--region", REGION]
    command = [str(settings.BIN / "versitygw"), "--port", f"{settings.GIT_IP}:{settings.S3_PORT}", *who, *certificate, "--quiet"]
    processes.start(_PROCESS, [*command, "posix", str(STATE / "data")])
    processes.wait_for("versitygw to answer", _answers, _PROCESS, 30)


def down() -> None:
    processes.stop(_PROCESS)


def secret(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"accessKeyID": KEY_ID, "secretAccessKey": KEY},
    }


def values(prefix: str, credentials: str) -> dict[str, Any]:
    """The chart's gateway.archive."""
    authority = (STATE / "pki" / "ca.pem").read_text()
    place = {"endpoint": ENDPOINT, "region": REGION, "bucket": BUCKET, "prefix": prefix}
    return {"enabled": True, "retentionDays": 0, "s3": {**place, "credentialsSecret": credentials, "ca": authority}}


def folder(key: str) -> pathlib.Path:
    return STATE / "data" / BUCKET / key


def stream(key: str) -> str:
    """The pieces below that key put together by their names, each of which says where it begins; all but an end are there and none is empty."""
    out = b""
    pieces = sorted(folder(key).iterdir())
    for piece in pieces:
        assert piece.name == f"{len(out):016d}", [one.name for one in pieces]
        content = piece.read_bytes()
        assert content or piece == pieces[-1], f"{piece.name} is empty"
        out += content
    return out.decode()


def has_ended(key: str) -> bool:
    """Whether the stream has its end: an empty last piece."""
    return sorted(folder(key).iterdir())[-1].stat().st_size == 0
