"""The images: the same inputs give the same digest, and the lists of what is in them are sound and true."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/docs"))
import spdx  # noqa: E402

IMAGES = ROOT / "build/images"
REFERENCE = "localhost/palisade/story:dev"
# What the two images' Dockerfiles do, but for the packages: files, compiled Python, users.
DOCKERFILE = """ARG BASE=debian:bookworm-slim
FROM ${BASE}
ARG SOURCE_DATE_EPOCH=1767225600
COPY data/ /opt/data/
RUN python3 -m compileall -q -f -j 1 --invalidation-mode unchecked-hash /opt/data \\
 && groupadd --gid 1001 aider && useradd --uid 1001 --gid 1001 --no-create-home aider \\
 && rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-
USER 1001:1001
"""


def image(*arguments: str, **environment: str) -> str:
    done = subprocess.run([ROOT / "e2e/cluster/image", *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_build_at_another_time_has_the_same_digest(tmp_path: pathlib.Path):
    (tmp_path / "context/data").mkdir(parents=True)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    digests = []
    try:
        for time in (1_000_000_000, 1_700_000_000):
            for name in ("b.py", "a.py", "data.txt"):
                path = tmp_path / "context/data" / name
                path.unlink(missing_ok=True)
                path.write_text("x = 1\n")
                os.utime(path, (time, time))
            image("build", REFERENCE, str(tmp_path / "Dockerfile"), str(tmp_path / "context"), FORCE="1")
            digests.append(image("digest", REFERENCE))
    finally:
        for path in IMAGES.glob("palisade_story_dev.tar*"):
            path.unlink()
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", ["control-plane", "aider"])
def test_a_whole_image_made_again_has_the_same_digest(name: str, tmp_path: pathlib.Path):
    context = tmp_path / "context"
    shutil.copytree(IMAGES / "context" / name, context, copy_function=shutil.copy)  # with other times
    reference = f"localhost/palisade/{name}-again:dev"

    def again() -> str:
        image("build", reference, str(ROOT / f"images/{name}/Dockerfile"), str(context), FORCE="1")
        return image("digest", reference)

    try:
        first, second = image("digest", f"localhost/palisade/{name}:dev"), again()
        if name == "control-plane" and second != first:  # Debian's archive may have moved on since the first was made
            first, second = second, again()
    finally:
        for path in IMAGES.glob(f"palisade_{name}-again_dev.tar*"):
            path.unlink()
    assert first == second


@pytest.mark.parametrize("name", ["control-plane", "aider"])
def test_the_list_of_an_image_is_sound_and_of_this_image(name: str):
    document = json.loads((IMAGES / f"palisade_{name}_dev.spdx.json").read_text())
    assert spdx.problems(document) == []
    described = next(one for one in document["packages"] if one.get("primaryPackagePurpose") == "CONTAINER")
    assert "sha256:" + described["checksums"][0]["checksumValue"] == image("digest", f"localhost/palisade/{name}:dev")
    assert sum(one["SPDXID"].startswith("SPDXRef-deb-") for one in document["packages"]) > 100
    assert document["files"] == []  # every executable belongs to a package, or is one of the programs


def test_the_lists_name_what_was_put_in():
    def packages(name: str, kind: str) -> dict[str, dict]:
        document = json.loads((IMAGES / f"palisade_{name}_dev.spdx.json").read_text())
        return {one["name"]: one for one in document["packages"] if one["SPDXID"].startswith(f"SPDXRef-{kind}-")}

    programs = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (IMAGES / "context/control-plane/bin").iterdir()}
    assert {name: one["checksums"][0]["checksumValue"] for name, one in packages("control-plane", "program").items()} == programs
    pinned = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1].split()[0]
              for line in (ROOT / "images/aider/requirements.txt").read_text().splitlines() if "==" in line and not line.startswith("#")}
    found = {name.lower().replace("_", "-").replace(".", "-"): one["versionInfo"] for name, one in packages("aider", "pypi").items()}
    assert found.items() >= {name.replace(".", "-"): version for name, version in pinned.items()}.items()
    assert set(found) - set(pinned) <= {"setuptools"}  # what every virtual environment has


def program_headers(program: bytes) -> list[tuple[int, int, int]]:
    """Type, offset and size of each part of a 64-bit ELF file, as elf(5) has them."""
    assert program[:6] == b"\x7fELF\x02\x01", "no 64-bit little-endian ELF file"
    at, size, count = struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54)
    headers = (struct.unpack_from("<IIQQQQ", program, at + i * size) for i in range(count))
    return [(kind, offset, length) for kind, _, offset, _, _, length in headers]


def test_guard_needs_nothing_of_the_image_it_is_put_into():
    program = (IMAGES / "context/control-plane/bin/palisade-guard").read_bytes()
    interpreter, dynamic, needed = 3, 2, 1
    headers = program_headers(program)
    assert not [kind for kind, _, _ in headers if kind == interpreter], "a dynamic loader is asked for"
    for kind, offset, length in headers:
        if kind == dynamic:
            assert needed not in [tag for tag, _ in struct.iter_unpack("<QQ", program[offset : offset + length])], "a library is asked for"
    # The check sees one where there is one.
    assert interpreter in [kind for kind, _, _ in program_headers(pathlib.Path(sys.executable).resolve().read_bytes())]
