"""Ports and port ranges. tcp and sctp read them one way, udp and dccp another.

Observed on iptables 1.8.9:

=================  ==========================  =====================================
                   tcp, sctp, multiport        udp, dccp
=================  ==========================  =====================================
number             decimal, 0x, 0 octal        decimal only (``0120`` is 120)
over 65535         refused                     its low 16 bits (``65616`` is 80)
service            of that protocol            of tcp, else udp, else sctp
``""``             refused                     0
``60:53``          refused                     taken (and matches nothing)
=================  ==========================  =====================================
"""

from __future__ import annotations

from iptkit.values.faults import BadValue
from iptkit.values.names import resolved_service_port, service_port
from iptkit.values.numbers import BLANKS, DIGITS, UINT16_MAX, UINT64_MAX, parse_uint
from iptkit.values.wording import quote


def parse_port(text: str, protocol: str | None) -> int:
    """Return a port given as a number (decimal, ``0x``, octal) or as a service of `protocol`.

    The form of `-m tcp`, `-m sctp` and `-m multiport`. Raises ValueError.
    """
    # The common case needs no more than this.
    if text.isdecimal() and len(text) < 6 and text[0] != "0":
        port = int(text)
        if port <= UINT16_MAX:
            return port
    try:
        return parse_uint(text, 0, UINT16_MAX)
    except ValueError:
        if text.isdecimal():
            raise ValueError(_not_a_port(text)) from None
    try:
        return service_port(text, protocol)
    except BadValue as error:
        error.hint = _mistaken(text) or error.hint
        raise


def parse_port_range_tcp(text: str, protocol: str = "tcp") -> tuple[int, int]:
    """Return (low, high) of ``PORT``, ``LOW:HIGH``, ``LOW:`` or ``:HIGH``, as `-m tcp` and `-m sctp` do.

    Raises ValueError, also when low is above high.
    """
    low_text, colon, high_text = text.partition(":")
    if not colon:
        port = parse_port(text, protocol)
        return port, port
    low = parse_port(low_text, protocol) if low_text else 0
    high = parse_port(high_text, protocol) if high_text else UINT16_MAX
    if low > high:
        message = f"range {quote(text)} is reversed: {low} is above {high}"
        raise BadValue(message, "IPT127", f"write {high_text}:{low_text}")
    return low, high


def parse_port_range_udp(text: str) -> tuple[int, int]:
    """Return (low, high) of ``PORT``, ``LOW:HIGH``, ``LOW:`` or ``:HIGH``, as `-m udp` and `-m dccp` do.

    Low may come out above high: the real tool takes that, and such a rule matches nothing. An empty
    text is port 0. Raises ValueError.
    """
    if text.isdecimal() and len(text) < 6:
        port = int(text) & UINT16_MAX
        return port, port
    low_text, colon, high_text = text.partition(":")
    low = _resolve_port(low_text) if low_text else 0
    if not colon:
        return low, low
    if ":" in high_text:
        raise ValueError(f"must be PORT or LOW:HIGH, not {quote(text)}")
    return low, _resolve_port(high_text) if high_text else UINT16_MAX


def _resolve_port(text: str) -> int:
    """Return a port as glibc's getaddrinfo reads a service: strtoul with base 10, then cut to 16 bits."""
    body = text.lstrip(BLANKS)
    negative = body[:1] == "-"
    if body[:1] in ("+", "-"):
        body = body[1:]
    if not body or body.strip(DIGITS):
        return resolved_service_port(text)
    significant = body.lstrip("0")
    value = int(significant or "0") if len(significant) <= 20 else UINT64_MAX + 1
    if value > UINT64_MAX:
        value = UINT64_MAX
    elif negative:
        value = -value
    # The number goes through a C int; below zero it counts as a name, which no service has.
    if value & 0x80000000:
        raise ValueError(_not_a_port(text))
    return value & UINT16_MAX


def show_port_range(low: int, high: int) -> str:
    """Return ``LOW:HIGH``, or the port alone when both are the same, as iptables-save prints it."""
    return str(low) if low == high else f"{low}:{high}"


def _mistaken(text: str) -> str:
    """What was meant by a list, or by a range as other tools write it."""
    if "," in text:
        return "a list of ports needs -m multiport --dports or --sports"
    low, dash, high = text.partition("-")
    return f"a range is written {low}:{high}" if dash and low.isdecimal() and high.isdecimal() else ""


def _not_a_port(text: str) -> str:
    return f"must be a port from 0 to 65535, not {quote(text)}"
