"""JSON whose short lists and objects stand on a line: the same values, no line too long that could be shorter, the same bytes."""

from __future__ import annotations

import json
import math

import pytest

from edgetl.core.compact_json import WIDTH, compact_json

VALUE = {
    "a": [1, 2.5, None, True, "é\n"],
    "names": [f"class {index}" for index in range(60)],
    "deep": {"x": {"y": [[0, 1]] * 40}},
    "empty": [],
}


def test_it_says_the_same_in_lines_that_can_be_read() -> None:
    text = compact_json(VALUE)
    assert json.loads(text) == VALUE
    assert ' "a": [1, 2.5, null, true, "é\\n"],' in text.splitlines()
    assert all(len(line) <= WIDTH + 20 for line in text.splitlines())


def test_tuples_are_lists_and_what_json_does_not_know_is_refused() -> None:
    assert compact_json({"a": (1, 2)}) == '{"a": [1, 2]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        compact_json([math.nan])
