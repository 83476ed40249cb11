"""Refuse packets with an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Choice, Layout
from iptkit.extensions.spec import Given, Option, Place, Problem, Target
from iptkit.extensions.world import DROP
from iptkit.values.faults import BadValue
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

# What save prints -> (short name, number), in the order in which prefixes are tried.
# Numbers: enum ipt_reject_with, linux/netfilter_ipv4/ipt_REJECT.h.
ANSWERS4 = {
    "icmp-net-unreachable": ("net-unreach", 0),
    "icmp-host-unreachable": ("host-unreach", 1),
    "icmp-proto-unreachable": ("proto-unreach", 2),
    "icmp-port-unreachable": ("port-unreach", 3),
    "icmp-net-prohibited": ("net-prohib", 5),
    "icmp-host-prohibited": ("host-prohib", 6),
    "tcp-reset": ("tcp-rst", 7),
    "icmp-admin-prohibited": ("admin-prohib", 8),
}
# enum ip6t_reject_with, linux/netfilter_ipv6/ip6t_REJECT.h.
ANSWERS6 = {
    "icmp6-no-route": ("no-route", 0),
    "icmp6-adm-prohibited": ("adm-prohibited", 1),
    "icmp6-addr-unreachable": ("addr-unreach", 3),
    "icmp6-port-unreachable": ("port-unreach", 4),
    "tcp-reset": ("tcp-reset", 6),
    "icmp6-policy-fail": ("policy-fail", 7),
    "icmp6-reject-route": ("reject-route", 8),
}


class Answer:
    """One of the answers: the first whose long or short name begins with the word, case aside."""

    metavar = "type"
    words = 1
    code = "IPT129"

    def __init__(self, answers: dict[str, tuple[str, int]]) -> None:
        self.answers = answers

    def parse(self, text: str, context: Context) -> str:
        word = text.lower()
        for name, (short, _) in self.answers.items():
            if name.startswith(word) or short.startswith(word):
                return name
        raise BadValue(f"no answer is called {quote(text)}", hint=choices(text, self.answers))

    def show(self, value: str) -> str:
        return value


class _Reject(Target):
    decides = True
    where = Place(tables=("filter",), hooks=("INPUT", "FORWARD", "OUTPUT"))
    revision = 0
    reject_with: Option[str]
    default = ""

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return given or {"reject_with": Given(cls.default, False)}

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if self.reject_with == "tcp-reset" and (rule.protocol != 6 or rule.protocol_inverted):
            yield Problem(
                "REJECT: --reject-with tcp-reset needs -p tcp",
                "reject_with",
                "IPT120",
                "add -p tcp to the rule",
            )

    def act(self, packet: Packet, world: World) -> str | None:
        world.reject(packet, self.reject_with or self.default)
        return DROP


class Reject4(_Reject, name="REJECT", families=(4,)):
    """Drop the packet and tell its sender so.

    The answer is an ICMP error, or with tcp-reset (which needs `-p tcp`) a TCP
    RST.  ICMP errors themselves, broadcasts and fragments but the first are
    dropped without an answer.
    """

    default = "icmp-port-unreachable"
    reject_with = Option(
        "--reject-with",
        type=Answer(ANSWERS4),
        doc=f"the answer: {', '.join(ANSWERS4)}; icmp-port-unreachable when not given",
    )
    # struct ipt_reject_info, linux/netfilter_ipv4/ipt_REJECT.h
    layout = Layout(Choice("reject_with", "I", {name: number for name, (_, number) in ANSWERS4.items()}))
    example = "-p tcp -m tcp --dport 113 -j REJECT --reject-with tcp-reset"


class Reject6(_Reject, name="REJECT", families=(6,)):
    """Drop the packet and tell its sender so.

    The answer is an ICMPv6 error, or with tcp-reset (which needs `-p tcp`) a
    TCP RST.
    """

    default = "icmp6-port-unreachable"
    reject_with = Option(
        "--reject-with",
        type=Answer(ANSWERS6),
        doc=f"the answer: {', '.join(ANSWERS6)}; icmp6-port-unreachable when not given",
    )
    # struct ip6t_reject_info, linux/netfilter_ipv6/ip6t_REJECT.h
    layout = Layout(Choice("reject_with", "I", {name: number for name, (_, number) in ANSWERS6.items()}))
    example = "-j REJECT --reject-with icmp6-adm-prohibited"


EXTENSIONS: tuple[Any, ...] = (Reject4, Reject6)
