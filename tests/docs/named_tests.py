#!/usr/bin/env python3
"""Every test that any document names exists: `Suite.Name` as a GoogleTest case, `test_file.py::name` as a story, `tests/...` and `e2e/...` as a file.

    named_tests.py          fails where one does not, naming document and line, or where a document that must name some names none
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [".", "docs", "bench", "courier", "e2e", "gateway", "kube", "manifests", "operator", "charts/palisade"]
# How many tests some name at least: an evidence column that no longer reads as one is found so.
LEAST = {"docs/threat-model.md": 90, "docs/risk-assessment.md": 10, "docs/operations.md": 1}
CASE = re.compile(r"TEST(?:_F|_P)?\(\s*([A-Za-z0-9_]+),\s*([A-Za-z0-9_]+)\s*\)")
NAMED = re.compile(r"`(?:([A-Z][A-Za-z0-9]*)\.([A-Z][A-Za-z0-9]*)|(test_[a-z0-9_]+\.py)::([a-z0-9_]+))`")
FILE = re.compile(r"`((?:tests|e2e)/[A-Za-z0-9_./-]+\.(?:cpp|h|py))`")


def cases() -> set[str]:
    out = set()
    for path in (ROOT / "tests").rglob("*.cpp"):
        out |= {f"{suite}.{name}" for suite, name in CASE.findall(path.read_text())}
    for path in (ROOT / "e2e/stories").glob("test_*.py"):
        out |= {f"{path.name}::{name}" for name in re.findall(r"^def (test_[a-z0-9_]+)\(", path.read_text(), re.M)}
    return out


def main() -> int:
    known, wrong = cases(), [f"{document} is not there" for document in LEAST if not (ROOT / document).is_file()]
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md")):
        document, count = str(path.relative_to(ROOT)), 0
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for suite, name, story, function in NAMED.findall(line):
                count += 1
                named = f"{suite}.{name}" if suite else f"{story}::{function}"
                if named not in known:
                    wrong.append(f"{document}:{number}: there is no test {named}")
            wrong += [f"{document}:{number}: there is no file {file}" for file in FILE.findall(line) if not (ROOT / file).is_file()]
        least = LEAST.get(document, 0)
        if count < least:
            wrong.append(f"{document}: names {count} tests, expected at least {least}")
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
