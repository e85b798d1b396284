"""The data in sentences."""

from __future__ import annotations

from edgetl.report.schema import Report
from edgetl.report.units import count


def intake(report: Report) -> str:
    """Files and images of the data that were left out or kept together; empty if there were none."""
    counts = report.data.intake or {}
    torn = bool(counts.get("near_duplicates_across_parts"))
    return "; ".join(_told(what, number, torn) for what, number in counts.items() if number)


def _told(what: str, number: int, torn: bool) -> str:
    match what:
        case "skipped_images":
            return f"{count(number, 'image file')} that could not be decoded, left out"
        case "ignored_files":
            return f"{count(number, 'file')} in no image format, ignored"
        case "exact_copies":
            return f"{number:,} exact {'copy' if number == 1 else 'copies'}, left out"
        case "near_duplicates":
            return f"{count(number, 'image')} looking much like another" + ("" if torn else ", kept together in one part")
        case "near_duplicates_across_parts":
            return f"{number:,} of these with a near-duplicate in another part, so that the scores may be too high"
        case "near_duplicates_left_out":
            return f"{count(number, 'added image')} left out, because they look like earlier images in two different parts"
        case _:
            return f"{number:,} {what.replace('_', ' ')}"
