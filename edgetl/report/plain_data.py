"""What lay in the data, for somebody who decides."""

from __future__ import annotations

from edgetl.report.schema import Report
from edgetl.report.units import count


def intake(report: Report) -> str:
    """What lay in the data beside images that could be used as they are; empty where nothing did."""
    return "; ".join(_told(what, number) for what, number in (report.data.intake or {}).items() if number)


def _told(what: str, number: int) -> str:
    match what:
        case "skipped_images":
            return f"{count(number, 'image file')} that could not be decoded, left out"
        case "ignored_files":
            return f"{count(number, 'file')} of no image format, ignored"
        case "exact_copies":
            return f"{number:,} exact {'copy' if number == 1 else 'copies'}, left out"
        case "near_duplicates":
            return f"{count(number, 'image')} looking much like another, kept together in one part"
        case "near_duplicates_across_parts":
            return f"{number:,} of these with one like it in another part all the same, so that the scores may be too good"
        case "near_duplicates_left_out":
            return f"{count(number, 'added image')} like earlier ones of two parts, left out, so that none of those had to move"
        case _:
            return f"{number:,} {what.replace('_', ' ')}"
