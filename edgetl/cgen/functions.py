"""The functions in C: pieces of text in `parts/`, some of which are filled in for more than one type."""

from __future__ import annotations

from collections.abc import Set
from importlib import resources
from string import Template

FUNCTIONS: dict[str, tuple[str, dict[str, str]]] = {  # in the order in which C wants them: file and what is filled in
    "round": ("round", {}),
    "window": ("window", {}),
    "load": ("load", {}),
    "whole": ("whole", {}),
    "stem": (
        "whole_conv",
        {
            "name": "stem",
            "type": "uint8_t",
            "doc": "of the image",
            "extra_parameter": "const int16_t *levels,",
            "read": "levels[256 * channel + in[(from_y * s.in_width + from_x) * s.in_channels + channel]]",
        },
    ),
    "stem_shifted": (
        "whole_conv",
        {
            "name": "stem_shifted",
            "type": "uint8_t",
            "doc": "of the image less a number for each channel",
            "extra_parameter": "const int16_t *less,",
            "read": "(int16_t)(in[(from_y * s.in_width + from_x) * s.in_channels + channel] - less[channel])",
        },
    ),
    "whole_conv": (
        "whole_conv",
        {
            "name": "whole_conv",
            "type": "int16_t",
            "doc": "of another one's result",
            "extra_parameter": "",
            "read": "in[(from_y * s.in_width + from_x) * s.in_channels + channel]",
        },
    ),
    "conv": ("conv", {}),
    "depthwise": ("depthwise", {}),
    "sum": ("sum", {}),
    "max_pool": ("max_pool", {"name": "max_pool", "type": "uint8_t", "what": "code", "least": "0"}),
    "max_pool_whole": ("max_pool", {"name": "max_pool_whole", "type": "int16_t", "what": "whole number", "least": "-32767"}),
    "average_pool": ("average_pool", {}),
    "global_average": ("global_average", {}),
    "average_logits": ("average_logits", {}),
    "map": ("map", {}),
    "concat": ("concat", {}),
    "pad": ("pad", {}),
    "linear": ("linear", {}),
    "decode": ("decode", {}),
    "answer": ("answer", {}),
}
NEEDS = {"stem": ("whole", "window", "round"), "stem_shifted": ("whole", "window", "round"), "whole_conv": ("whole", "window", "round")}
PLAIN = {
    "sum": ("round",),
    "global_average": ("round",),
    "average_logits": (),
    "map": (),
    "concat": (),
    "linear": (),
    "decode": (),
    "answer": (),
}


def functions_for(used: Set[str]) -> str:
    """The text of those functions and of what they refer to."""
    names = {*used, *(needed for name in used for needed in _needs(name))}
    return "\n".join(_part(*FUNCTIONS[name]) for name in FUNCTIONS if name in names)


def _needs(name: str) -> tuple[str, ...]:
    """The pieces that a function refers to."""
    return NEEDS.get(name, PLAIN.get(name, ("round", "window")))


def _part(file: str, filled: dict[str, str]) -> str:
    """A piece of C."""
    source = resources.files("edgetl.cgen").joinpath("parts", f"{file}.c").read_text(encoding="utf-8")
    return Template(source).substitute(filled) if filled else source
