"""Match and set the labels of a packet's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.spec import Flag, Match, Option, Problem
from iptkit.values.cnumbers import strtoul
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT16_MAX
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

MOST = 127  # XT_CONNLABEL_MAXBIT


class LabelNumber:
    """The number of a label.  iptables reads it with strtoul, keeps it as a C int and then 16 bits of it."""

    metavar = "number"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        value, rest = strtoul(text, 0)
        # What is negative as an int counts as a name, like anything that is no number.
        if not text or rest or value & 0x80000000:
            raise BadValue(f"must be a number from 0 to {MOST}, not {quote(text)}")
        return value & UINT16_MAX

    def show(self, value: int) -> str:
        return f'"{value}"'


class Connlabel(Match, name="connlabel"):
    """Match a label of the packet's connection, of 128 that each connection has room for.

    With --set the label is set first, and the rule matches when that worked;
    this needs no other target.  Labels are given by number: names for them
    live in a file of the machine (/etc/xtables/connlabel.conf).
    """

    label = Option("--label", type=LabelNumber(), invert=True, required=True, doc="number, 0 to 127")
    set_label = Flag("--set", doc="set the label, then match if it is set")
    # struct xt_connlabel_mtinfo, linux/netfilter/xt_connlabel.h
    layout = Layout(
        Number("label", "H", always=True), Bits("H", inverted={1: "label"}, given={2: "set_label"})
    )
    certain = True
    rewritable = True
    example = "-m connlabel --label 40 -j ACCEPT"

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # nf_connlabels_get, net/netfilter/nf_conntrack_labels.c
        if self.label is not None and self.label > MOST:
            yield Problem(f"the kernel knows labels up to {MOST}, not {self.label}", "label")

    def matches(self, packet: Packet, world: World) -> bool | None:
        # connlabel_mt, net/netfilter/xt_connlabel.c
        connection = packet.connection
        inverted = bool(self.inverted)
        if connection is None:
            return inverted
        bit = 1 << (self.label or 0)
        if connection.labels & bit:
            return not inverted
        if self.set_label and not connection.template:
            connection.labels |= bit
            return not inverted
        return inverted


EXTENSIONS: tuple[Any, ...] = (Connlabel,)
