#!/usr/bin/env python3
"""Every relative link of the repository's Markdown leads to a file that is there, and to a heading of it where it names one (as GitHub names them)."""

import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)")


@functools.cache
def anchors(path: pathlib.Path) -> set[str]:
    out: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.*)$", CODE.sub("", path.read_text()), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug, number = re.sub(r"[^\w\- ]", "", text).replace(" ", "-"), 0
        while (anchor := slug + (f"-{number}" if number else "")) in out:
            number += 1
        out.add(anchor)
    return out


def problems(path: pathlib.Path) -> list[str]:
    out = []
    text = re.sub(r"`[^`\n]*`", "", CODE.sub("", path.read_text()))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or not file.is_relative_to(ROOT):
            out.append(f"{path.relative_to(ROOT)}: {target} leads nowhere")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            out.append(f"{path.relative_to(ROOT)}: {target}: there is no such heading")
    return out


def main() -> int:
    # Git's list, where there is a repository: build folders hold others' documents.
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = [one for name in listed if (ROOT / name).exists() for one in problems(ROOT / name)]
    if len(listed) < 20:
        found.append(f"only {len(listed)} documents were found")
    print("\n".join(found), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
