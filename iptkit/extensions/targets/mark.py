"""Set the packet's netfilter mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Layout, Pair
from iptkit.extensions.numbers import MarkAndMask, UInt
from iptkit.extensions.spec import Given, Option, Target

if TYPE_CHECKING:
    from iptkit.values.context import Context

_ALL = ("set_xmark", "set_mark", "and_mark", "or_mark", "xor_mark")


def others(field: str) -> tuple[str, ...]:
    return tuple(f for f in _ALL if f != field)


class Mark(Target, name="MARK"):
    """Change the packet's mark: its bits in `mask` are cleared, then `value` is XORed in."""

    revision = 2
    at_least_one = _ALL
    set_xmark = Option(
        "--set-xmark", type=MarkAndMask(), excludes=others("set_xmark"), doc="clear mask, XOR value"
    )
    set_mark = Option(
        "--set-mark", type=MarkAndMask(), excludes=others("set_mark"), doc="clear mask and value, OR value"
    )
    and_mark = Option("--and-mark", type=UInt(), excludes=others("and_mark"), doc="AND with these bits")
    or_mark = Option("--or-mark", type=UInt(), excludes=others("or_mark"), doc="OR with these bits")
    xor_mark = Option("--xor-mark", type=UInt(), excludes=others("xor_mark"), doc="XOR with these bits")
    # struct xt_mark_tginfo2, linux/netfilter/xt_mark.h
    layout = Layout(Pair("set_xmark", "I", (0, 0), always=True))
    example = "-i eth1 -j MARK --set-xmark 0x1/0xff"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return settle_marks(given)


def settle_marks(given: dict[str, Given]) -> dict[str, Given]:
    """`--set-mark`, `--and-mark`, `--or-mark` and `--xor-mark` as the `--set-xmark` they are."""
    out = dict(given)
    for field in _ALL[1:]:
        if field not in out:
            continue
        value = out.pop(field).value
        if field == "set_mark":
            value = (value[0], value[1] | value[0])
        elif field == "and_mark":
            value = (0, value ^ 0xFFFFFFFF)
        elif field == "or_mark":
            value = (value, value)
        else:
            value = (value, 0)
        out["set_xmark"] = Given(value, False)
    return out


EXTENSIONS: tuple[Any, ...] = (Mark,)
