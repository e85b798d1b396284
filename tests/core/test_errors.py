"""Errors a user can mend: one tree, names that help, listings that end."""

from __future__ import annotations

import pytest

from edgetl.core.errors import EdgetlError, InputError, LockedError, SettingsError, WorkspaceError, listing, nearest


def test_one_except_clause_catches_every_error_on_purpose() -> None:
    assert all(issubclass(kind, EdgetlError) for kind in (InputError, SettingsError, WorkspaceError, LockedError))
    assert issubclass(LockedError, WorkspaceError)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("temperatur", ["temperature", "epochs"], ' (did you mean "temperature"?)'),
        ("EPOCHS", ["temperature", "epochs"], ' (did you mean "epochs"?)'),
        ("zzz", ["temperature", "epochs"], ""),
        ("anything", [], ""),
    ],
)
def test_the_nearest_known_name_is_offered_if_it_is_near(word: str, known: list[str], said: str) -> None:
    assert nearest(word, known) == said


def test_a_listing_names_the_first_and_counts_the_rest() -> None:
    assert listing(["a", "b"]) == "  a\n  b"
    assert listing(range(5), limit=3) == "  0\n  1\n  2\n  ... and 2 more"
    assert listing(range(3), limit=3) == "  0\n  1\n  2"
