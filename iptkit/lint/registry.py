"""Which checks there are, and in which module.

The codes stand in the order of the catalogue, one line for each module.
tests/lint/test_registry.py holds this table against the modules.
"""

from __future__ import annotations

import functools
import importlib

from iptkit.lint.check import Check, Fault
from iptkit.text.codes import BY_NAME

# module of iptkit.lint.checks -> the codes of its checks
MODULES: dict[str, str] = {
    "line_ends": "001 002 003",
    "commits": "004 005 006",
    "sections": "007 008 018 023 030",
    "blanks": "009 010 603",
    "words": "011 012 013 014 017 021",
    "characters": "015 022",
    "shell": "016",
    "commands": "019 020 028 029",
    "chain_lines": "024 025 026 027 106 107 217 224",
    "jumps": "101 102 103 104 105",
    "places": "110 111 112 113 114 115",
    "options": "120 121 130 131 132 133 134 135 136 137 140",
    "values": "122 123 124 125 126 127 128 129 138 139",
    "objects": "141",
    "unreachable": "201 202 203 214",
    "duplicates": "204",
    "impossible": "205",
    "unused_chains": "206 207",
    "returns": "208 215",
    "addresses": "209 218 219",
    "interfaces": "210 211",
    "cut_text": "212 213",
    "connection_state": "216 223 310",
    "targets": "220 313 314",
    "no_op": "221",
    "negated_pairs": "222",
    "policies": "301 302 303 304 312",
    "exposure": "305 306 307 308 309 311 315 316 317 318 319",
    "long_chain": "401 406",
    "runs": "402 403 404",
    "payload": "405",
    "deprecated": "501 502 503 504 505",
    "canonical": "601 602",
}
# Modules whose checks ask which packets come to a rule, or which chains lead to which.  They share what they
# find out, and the work that may be spent on it; of a file in two shares they must know what is in the other.
# The others ask about lines and rules one by one.
PACKETS = frozenset(
    (
        "jumps", "places", "unreachable", "duplicates", "impossible", "unused_chains", "returns", "targets",
        "negated_pairs", "policies", "exposure", "runs",
    )
)  # fmt: skip
_MODULE_OF = {f"IPT{number}": module for module, codes in MODULES.items() for number in codes.split()}


def codes() -> list[str]:
    """The codes of all checks there are, in order."""
    return sorted(_MODULE_OF)


def find(word: str) -> type[Check] | None:
    """The check of that code or name, None where there is none."""
    code = BY_NAME.get(word, word.upper())
    module = _MODULE_OF.get(code)
    if module is None:
        return None
    return next(check for check in _classes(module) if check.code == code)


@functools.cache
def checks() -> tuple[Check, ...]:
    """One of each check that has something to look at."""
    return tuple(check() for module in MODULES for check in _classes(module) if not issubclass(check, Fault))


def asks_packets(check: Check) -> bool:
    """Is it one of the checks that belong together, see PACKETS?"""
    return type(check).__module__.rpartition(".")[2] in PACKETS


def _classes(module: str) -> list[type[Check]]:
    """The checks that a module of iptkit.lint.checks declares."""
    found = importlib.import_module(f"iptkit.lint.checks.{module}")
    return [
        each
        for each in vars(found).values()
        if isinstance(each, type)
        and issubclass(each, Check)
        and each.code
        and each.__module__ == found.__name__
    ]
