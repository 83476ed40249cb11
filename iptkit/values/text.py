"""Strings as iptables-save prints them."""

from __future__ import annotations

import re

# xtables_save_string (libxtables/xtables.c): a word of these alone needs no
# quotes; inside quotes these are escaped.
_PLAIN = re.compile(r"[0-9A-Za-z_-]*\Z")
_ESCAPED = re.compile(r"[\"\\']")


def quoted(text: str) -> str:
    """A string in quotes where iptables-save puts them."""
    if _PLAIN.match(text) and text:
        return text
    return '"' + _ESCAPED.sub(r"\\\g<0>", text) + '"'
