#!/usr/bin/env python3
"""images/debian-lock with apt's real index: what it locks, and that nothing else passes."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "images/debian-lock"


def newest(name: str) -> tuple[str, str]:
    """Version and SHA-256 as apt's index has them."""
    shown = subprocess.run(["apt-cache", "show", name], text=True, capture_output=True, check=True).stdout
    for paragraph in shown.split("\n\n"):
        version, digest = (re.search(rf"^{field}: (.+)$", paragraph, re.MULTILINE) for field in ("Version", "SHA256"))
        if version and digest:
            return version.group(1), digest.group(1)
    raise AssertionError(f"apt's index has no {name}: apt-get update")


class DebianLock(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.lock = self.folder / "debian.lock"
        self.git, self.tar = newest("git"), newest("tar")
        self.document("one", git=self.git[0])
        self.document("two", git=self.git[0], tar=self.tar[0])

    def document(self, name: str, **packages: str) -> None:
        listed = [{"name": package, "versionInfo": version, "externalRefs": [{"referenceLocator": f"pkg:deb/debian/{package}@{version}"}]}
                  for package, version in packages.items()]
        python = {"name": "aider-chat", "versionInfo": "1", "externalRefs": [{"referenceLocator": "pkg:pypi/aider-chat@1"}]}
        (self.folder / f"{name}.spdx.json").write_text(json.dumps({"packages": [python, {"name": "the-image"}, *listed]}))

    def run_it(self, *arguments: str) -> subprocess.CompletedProcess:
        documents = sorted(self.folder.glob("*.spdx.json"))
        return subprocess.run([PROGRAM, "--lock", self.lock, *arguments, *documents], text=True, capture_output=True, check=False)

    def refused(self, why: str) -> None:
        done = self.run_it()
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(why, done.stderr)

    def test_what_was_locked_passes(self):
        self.assertEqual(self.run_it("--write").returncode, 0)
        self.assertEqual(self.lock.read_text().splitlines()[1:], [f"git {self.git[0]} {self.git[1]}", f"tar {self.tar[0]} {self.tar[1]}"])
        done = self.run_it()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 Debian packages", done.stdout)

    def test_another_hash(self):
        self.run_it("--write")
        self.lock.write_text(self.lock.read_text().replace(self.git[1], "0" * 64))
        self.refused(f"git {self.git[0]} has SHA-256 {self.git[1]}")

    def test_another_version(self):
        self.run_it("--write")
        self.lock.write_text(self.lock.read_text().replace(f"git {self.git[0]}", "git 1:0.1"))
        self.refused(f"git is {self.git[0]}, the lock says 1:0.1")

    def test_one_more_and_one_less(self):
        self.run_it("--write")
        self.document("two", git=self.git[0])
        self.refused(f"tar {self.tar[0]} is in the lock and in no image")
        self.run_it("--write")
        self.document("two", git=self.git[0], tar=self.tar[0])
        self.refused(f"tar {self.tar[0]} is not in the lock")

    def test_a_version_that_the_archive_no_longer_has(self):
        self.document("one", git="1:0.1")
        self.document("two", git="1:0.1")
        self.lock.write_text(f"git 1:0.1 {'0' * 64}\n")
        self.refused("no longer in apt's index")
        self.assertIn("not in apt's index", self.run_it("--write").stderr)

    def test_two_versions_of_one_package(self):
        self.document("one", git="1:0.1")
        self.refused("two versions")


if __name__ == "__main__":
    unittest.main()
