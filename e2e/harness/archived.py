"""What an archive has of a session, wherever it is kept."""

from __future__ import annotations

import json
from typing import Any


def lines_of(record: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.splitlines()]


def event_of(line: dict[str, Any]) -> str:
    return line["unmapped"]["palisade"]["event"]


def assert_from_start_to_end(record: str) -> None:
    """Guard's record of a session that has ended: no line is missing."""
    lines = lines_of(record)
    assert [line["metadata"]["sequence"] for line in lines] == list(range(1, len(lines) + 1)), "a line is missing"
    assert event_of(lines[0]) == "SessionStarted" and event_of(lines[-1]) == "SessionEnded"


def assert_has_what_was_printed(output: str, printed: str) -> None:
    """What the container printed is in what was kept of it, but for guard's own words."""
    missing = [line for line in printed.splitlines() if not line.startswith("palisade-guard:") and line not in output]
    assert not missing, missing
