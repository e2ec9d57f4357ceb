"""A model that is wrong at first: what it replies before and after it has seen what its test prints."""

from __future__ import annotations

from typing import Any

FILE = "sum.py"
TEST = "test_sum.py"
BEFORE = "    return 0"
WRONG = "    return a - b"
RIGHT = "    return a + b"
FAILURE = "the sum of 2 and 3 is"
REQUEST = "Write the sum of two numbers"
STUBBORN_REQUEST = "Write the sum of two numbers, in your own way"
LINT_REQUEST = "Write the sum of two numbers, without a tab"
LINT = "lint_sum.py"
FILES = {
    FILE: f"def total(a, b):\n{BEFORE}\n",
    TEST: f"from sum import total\n\nif total(2, 3) != 5:\n    print('{FAILURE}', total(2, 3))\n    raise SystemExit(1)\n",
    LINT: "if 'a - b' in open('sum.py').read():\n    print('a minus is no plus')\n    raise SystemExit(2)\n",
}


def edit(before: str, after: str) -> str:
    return f"{FILE}\n```python\n<<<<<<< SEARCH\n{before}\n=======\n{after}\n>>>>>>> REPLACE\n```\n"


RULES: list[dict[str, Any]] = [
    # What the test printed comes with the task, so it is looked for first: it tells which reply came before.
    {"contains": f"{FAILURE} -1", "reply": edit(WRONG, RIGHT)},
    {"contains": "a minus is no plus", "reply": edit(WRONG, RIGHT)},
    {"contains": STUBBORN_REQUEST, "reply": "It is right as it is."},
    {"contains": REQUEST, "reply": edit(BEFORE, WRONG)},
]
