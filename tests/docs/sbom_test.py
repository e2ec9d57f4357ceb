#!/usr/bin/env python3
"""scripts/sbom on small images that are made here: what it lists, what it leaves out, and that the document is sound."""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import spdx  # noqa: E402

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "scripts/sbom"
STATUS = """Package: libfoo1
Status: install ok installed
Maintainer: Jane Doe <jane@example.com>
Architecture: amd64
Source: foo (1.2)
Version: 1:1.2+deb12~u1-3
Description: a library
 of several lines

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
METADATA = "Metadata-Version: 2.1\nName: Some_Thing\nVersion: 2.0.post1\nLicense: MIT\nmore\n\nText: not a field\n"


def tar(entries: list[tuple[str, str, int]]) -> bytes:
    """(name, content, mode); a content that begins with -> is a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, mode in entries:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if content.startswith("->"):
                info.type, info.linkname = tarfile.LNKTYPE, content[2:]
                archive.addfile(info)
            else:
                info.size = len(content.encode())
                archive.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


def image(folder: pathlib.Path, layers: list[bytes]) -> pathlib.Path:
    config = json.dumps({"created": "2026-01-01T00:00:00.123Z", "rootfs": {"diff_ids": [hashlib.sha256(one).hexdigest() for one in layers]}})
    members = {"config.json": config.encode(), **{f"{number}.tar": layer for number, layer in enumerate(layers)}}
    members["manifest.json"] = json.dumps([{"Config": "config.json", "Layers": [f"{number}.tar" for number in range(len(layers))]}]).encode()
    path = folder / "image.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


BASE = [("./etc/os-release", 'ID=debian\nVERSION_ID="12"\n', 0o644), ("var/lib/dpkg/status", STATUS, 0o644), ("var/lib/dpkg/info/libfoo1.list", "/.\n/bin/foo\n", 0o644),
        ("usr/bin/foo", "#!/bin/sh\n", 0o755), ("opt/old", "#!/bin/sh\n", 0o755), ("opt/sub/one", "x", 0o755), ("opt/kept", "kept", 0o755)]
ON_TOP = [("usr/local/bin/palisade-guard", "program", 0o755), ("opt/.wh.old", "", 0o644), ("opt/sub/.wh..wh..opq", "", 0o644), ("opt/again", "->opt/kept", 0o755),
          ("opt/aider/lib/site-packages/Some_Thing-2.0.dist-info/METADATA", METADATA, 0o644),
          ("opt/aider/lib/site-packages/Some_Thing-2.0.dist-info/RECORD", "../../bin/thing,sha256=x,1\n", 0o644), ("opt/aider/bin/thing", "#!/x", 0o755)]


class Sbom(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def run_on(self, path) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, PROGRAM, str(path), "--name", "some image"], capture_output=True, text=True)

    def document(self, layers) -> dict:
        done = self.run_on(image(pathlib.Path(self.folder.name), [tar(one) for one in layers]))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_lists_what_the_container_would_see(self):
        document = self.document([BASE, ON_TOP])
        self.assertEqual(spdx.problems(document), [])
        packages = {one["name"]: one for one in document["packages"]}
        self.assertEqual(set(packages), {"some image", "libfoo1", "Some_Thing", "palisade-guard"})
        self.assertEqual(packages["libfoo1"]["externalRefs"][0]["referenceLocator"],
                         "pkg:deb/debian/libfoo1@1%3A1.2%2Bdeb12~u1-3?arch=amd64&distro=debian-12")
        self.assertEqual(packages["libfoo1"]["supplier"], "Organization: Jane Doe")
        self.assertEqual(packages["libfoo1"]["sourceInfo"], "source package: foo (1.2)")
        self.assertEqual(packages["Some_Thing"]["externalRefs"][0]["referenceLocator"], "pkg:pypi/some-thing@2.0.post1")
        self.assertEqual(packages["Some_Thing"]["licenseComments"], "states: MIT")
        self.assertEqual(packages["palisade-guard"]["checksums"], [{"algorithm": "SHA256", "checksumValue": hashlib.sha256(b"program").hexdigest()}])
        self.assertEqual([one["fileName"] for one in document["files"]], ["/opt/again", "/opt/kept"])  # neither packages' files nor what was removed
        self.assertEqual(len(document["relationships"]), 1 + 3 + 2)
        self.assertEqual(document["creationInfo"]["created"], "2026-01-01T00:00:00Z")

    def test_the_same_image_gives_the_same_bytes(self):
        path = image(pathlib.Path(self.folder.name), [tar(BASE)])
        self.assertEqual(self.run_on(path).stdout, self.run_on(path).stdout)

    def test_another_image_has_another_namespace(self):
        self.assertNotEqual(self.document([BASE])["documentNamespace"], self.document([BASE, ON_TOP])["documentNamespace"])

    def test_one_distribution_twice_has_two_identifiers(self):
        twice = [(name.replace("opt/aider", "opt/other"), content, mode) for name, content, mode in ON_TOP]
        self.assertEqual(spdx.problems(self.document([BASE, ON_TOP, twice])), [])

    def test_says_what_cannot_be_read(self):
        folder = pathlib.Path(self.folder.name)
        (folder / "text").write_text("no archive")
        for path, says in ((folder / "none", "No such file"), (folder / "text", "text:"), (image(folder, [tar(ON_TOP)]), "no list of Debian packages")):
            done = self.run_on(path)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(says, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_the_check_finds_what_is_missing(self):
        whole = json.dumps(self.document([BASE, ON_TOP]))
        for change, says in ((lambda d: d.pop("documentNamespace"), "namespace"),
                             (lambda d: d["packages"][1].pop("downloadLocation"), "downloadLocation"),
                             (lambda d: d["packages"][1].update(SPDXID=d["packages"][0]["SPDXID"]), "twice"),
                             (lambda d: d["files"][0]["checksums"].pop(0), "no SHA1"),
                             (lambda d: d["relationships"].pop(0), "describes 0"),
                             (lambda d: d["packages"][1]["externalRefs"][0].update(referenceLocator="libfoo1"), "libfoo1"),
                             (lambda d: d["relationships"][1].update(relatedSpdxElement="SPDXRef-nobody"), "nobody")):
            document = json.loads(whole)
            change(document)
            self.assertTrue(any(says in one for one in spdx.problems(document)), says)


if __name__ == "__main__":
    unittest.main()
