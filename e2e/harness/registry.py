"""A real registry: Gitea's, beside its repositories. What tests/webhook/fixtures/cosign holds is pushed to it by the OCI distribution API."""

from __future__ import annotations

import base64
import json
import pathlib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from e2e.cluster import settings
from e2e.gitea import api
from e2e.harness.shell import ROOT

FIXTURE = ROOT / "tests" / "webhook" / "fixtures" / "cosign"
REGISTRY = f"{settings.GIT_IP}:{settings.GIT_PORT}"
REPOSITORY = f"{api.ADMIN}/aider"  # whoever may pull it may do so without a name: its tokens are given to anybody


def _call(method: str, path: str, body: bytes, kind: str) -> None:
    password = (settings.STATE / "gitea" / "admin-password").read_text()
    request = urllib.request.Request(f"{api.URL}/v2/{REPOSITORY}/{path}", method=method, data=body)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{api.ADMIN}:{password}".encode()).decode())
    request.add_header("Content-Type", kind)
    context = ssl.create_default_context(cafile=str(api.CA))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        opener.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        raise api.ApiError(method, path, error.code, error.read().decode(errors="replace")) from error


def _blob(digest: str) -> bytes:
    return (FIXTURE / "blobs" / digest.replace(":", "/")).read_bytes()


def _push(manifest: dict[str, Any], reference: str) -> None:
    """A manifest under a tag or its digest, after all that it names."""
    content = json.loads(_blob(manifest["digest"]))
    for inner in content.get("manifests", []):
        _push(inner, inner["digest"])
    for part in [content["config"], *content["layers"]] if "config" in content else []:
        _call("POST", f"blobs/uploads/?digest={urllib.parse.quote(part['digest'])}", _blob(part["digest"]), "application/octet-stream")
    _call("PUT", f"manifests/{reference}", _blob(manifest["digest"]), manifest["mediaType"])


def push() -> dict[str, str]:
    """Pushes the fixture, which may be there already; the whole names of its images, by digest, by the tags that its README names."""
    index = json.loads((FIXTURE / "index.json").read_text())
    images = {}
    for manifest in index["manifests"]:
        tag = manifest["annotations"]["org.opencontainers.image.ref.name"]
        _push(manifest, tag)
        images[tag] = f"{REGISTRY}/{REPOSITORY}@{manifest['digest']}"
    return images


def key(name: str) -> str:
    """A public key of the fixture."""
    return pathlib.Path(FIXTURE / f"{name}.pub").read_text()
