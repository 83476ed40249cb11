"""The byte of the IP header that says how to treat a packet: type of service, or DSCP and ECN.

What the matches tos and dscp share with the targets TOS and DSCP.  The names
of TOS are those of linux/ip.h, those of DSCP of RFC 2474, 2597 and 3246.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT8_MAX, parse_uint, parse_uint_prefix
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from iptkit.extensions.spec import Given
    from iptkit.values.context import Context

TOS_NAMES = {
    "Minimize-Delay": 0x10,
    "Maximize-Throughput": 0x08,
    "Maximize-Reliability": 0x04,
    "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}
_TOS_BY_LOWER = {name.lower(): value for name, value in TOS_NAMES.items()}
_NAMED_MASK = 0x3F  # what a name stands for: all but the two bits of precedence that DSCP kept

DSCP_CLASSES = {
    **{f"CS{number}": number * 8 for number in range(8)},
    "BE": 0,
    **{f"AF{number}{drop}": number * 8 + drop * 2 for number in range(1, 5) for drop in range(1, 4)},
    "EF": 46,
}
DSCP_MOST = 63


class TosMask:
    """`value[/mask]`, 8 bits each, or the name of a type of service, which has the mask 0x3f."""

    metavar = "value[/mask]"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> tuple[int, int]:
        named = _TOS_BY_LOWER.get(text.lower())
        if named is not None:
            return named, _NAMED_MASK
        try:
            value, rest = parse_uint_prefix(text, 0, UINT8_MAX)
        except ValueError:
            hint = did_you_mean(text, TOS_NAMES) or f"names: {', '.join(TOS_NAMES)}"
            raise BadValue(f"must be VALUE, VALUE/MASK or a name, not {quote(text)}", hint=hint) from None
        if not rest:
            return value, UINT8_MAX
        try:
            if rest[0] == "/":
                return value, parse_uint(rest[1:], 0, UINT8_MAX)
        except ValueError:
            pass
        raise BadValue(f"must be VALUE or VALUE/MASK, each from 0 to 0xff, not {quote(text)}")

    def show(self, value: tuple[int, int]) -> str:
        return f"0x{value[0]:02x}/0x{value[1]:02x}"


class DscpClass:
    """The name of a DSCP, in any case: EF, BE, CS0 to CS7, AF11 to AF43.  iptables sees nothing behind it."""

    metavar = "class"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        upper = text.upper()
        for name, number in DSCP_CLASSES.items():
            if upper.startswith(name):
                return number
        hint = did_you_mean(text, DSCP_CLASSES) or "EF, BE, CS0 to CS7, AF11 to AF43"
        raise BadValue(f"no DSCP class is called {quote(text)}", hint=hint)

    def show(self, value: int) -> str:
        return next(name for name, number in DSCP_CLASSES.items() if number == value)


def settle_class(given: dict[str, Given], number: str, name: str) -> dict[str, Given]:
    """A DSCP given by the name of its class, as the number it is."""
    if name not in given:
        return given
    out = dict(given)
    out[number] = out.pop(name)
    return out


__all__ = ["DSCP_CLASSES", "DSCP_MOST", "TOS_NAMES", "DscpClass", "TosMask", "settle_class"]
