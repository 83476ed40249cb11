"""Refusals that come of one thing: a piece of the other IP version."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from iptkit.extensions.registry import find_match, find_target
from iptkit.syntax.parser import words_of
from iptkit.values.addresses import parse_address4, parse_address6
from iptkit.values.context import Context

if TYPE_CHECKING:
    from iptkit.lint.facts import Facts
    from iptkit.text.diagnostic import Diagnostic
    from iptkit.values.context import Family

_PARTS = r"[^][,/\s-]+"
_IPV4 = r"\d+\.\d+\.\d+\.\d+"


def of_other_family(facts: Facts, found: Diagnostic) -> str:
    """What of the other IP version a finding is about, for a message; "" when it is not."""
    line = facts.line(found.span.line)
    word = line.raw[found.span.start : found.span.end]
    other: Family = 6 if facts.family == 4 else 4
    if found.code == "IPT125":
        return _address(word, other)
    if found.code == "IPT129":
        return _reject_type(word, other)
    if found.code == "IPT130" and line.kind == "rule":
        if word in ("-f", "--fragments", "--fragment"):
            return f"{word} is an option of IPv4"
        return _extension(words_of(line), facts.family, other)  # type: ignore[arg-type]  # kind says RuleLine
    return ""


def _address(word: str, other: Family) -> str:
    for part in re.findall(_PARTS, word):
        text = part
        if other == 4:
            dotted = re.match(_IPV4, part)
            if dotted is None:
                continue
            text = dotted[0]
        try:
            parse_address4(text) if other == 4 else parse_address6(text)
        except ValueError:
            continue
        return f"{text} is an IPv{other} address"
    return ""


def _reject_type(word: str, other: Family) -> str:
    reject: Any = find_target("REJECT", other)
    try:
        reject.reject_with.type.parse(word, Context(other))
    except ValueError:
        return ""
    return f"{word} is an answer of IPv{other}" if word.startswith("icmp") else ""


def _extension(words: list[str], family: Family, other: Family) -> str:
    for flag, name in pairwise(words):
        if flag in ("-j", "--jump") and find_target(name, family) is None and find_target(name, other):
            return f"the target {name} belongs to IPv{other}"
        if flag in ("-m", "--match") and find_match(name, family) is None and find_match(name, other):
            return f"the match {name} belongs to IPv{other}"
    return ""
