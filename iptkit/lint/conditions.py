"""What rules ask of a packet, as far as checks must know: nothing at all, something that changes, a verdict.

Words as the catalogue uses them: a *condition* limits the packets a rule
matches; a *changing* condition does not follow from the packet; a *verdict*
ends the packet's way through the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import Jump, Verdict

if TYPE_CHECKING:
    from iptkit.extensions.spec import Extension
    from iptkit.ruleset.binding import Bound
    from iptkit.ruleset.model import Rule

# Targets after which a packet does not come to the next rule.
DECIDING = frozenset(
    [
        "ACCEPT",
        "DROP",
        "REJECT",
        "QUEUE",
        "NFQUEUE",
        "DNAT",
        "SNAT",
        "MASQUERADE",
        "REDIRECT",
        "NETMAP",
        "TPROXY",
        "SYNPROXY",
    ]
)
# Targets that write a record of the packet and leave it as it is.
LOGGING = frozenset(["LOG", "NFLOG", "ULOG", "AUDIT", "TRACE"])
# Matches whether they match does not follow from the packet: they count, or look at a clock or at dice.
CHANGING = frozenset(
    [
        "limit",
        "hashlimit",
        "recent",
        "statistic",
        "quota",
        "connlimit",
        "connbytes",
        "time",
        "nfacct",
        "rateest",
    ]
)
# Targets that leave the packet, its marks and all sets as they are.
HARMLESS = DECIDING | LOGGING | {"RETURN", "TEE", "RATEEST", "LED", "IDLETIMER"}
# Matches on what a target may rewrite while the packet is still in the table.
REWRITABLE = frozenset(
    [
        "mark",
        "connmark",
        "dscp",
        "tos",
        "ttl",
        "hl",
        "ecn",
        "set",
        "connlabel",
        "tcpmss",
        "string",
        "u32",
        "bpf",
        "length",
    ]
)
_ALL_STATES = 0x1 | 0x2 | 0x4 | 0x8 | 0x100  # INVALID ESTABLISHED RELATED NEW UNTRACKED
_EVERY_INTERFACE = "+"


def is_changing(bound: Bound) -> bool:
    """Has the shape a condition that may match one packet and not the next like it?"""
    return any(placed.segment.cls.name in CHANGING for placed in bound.matches)


def may_be_unconditional(bound: Bound) -> bool:
    """Can rules of this shape be without conditions?  A quick no for nearly all shapes."""
    return (
        not bound.protocol
        and not bound.fragment
        and not bound.opaque
        and not (
            bound.source_inverted or bound.destination_inverted or bound.in_inverted or bound.out_inverted
        )
        and all(placed.segment.cls.name in _MAY_SAY_NOTHING for placed in bound.matches)
    )


def is_always_unconditional(bound: Bound) -> bool:
    """Are all rules of this shape without conditions, whatever their values?"""
    return (
        may_be_unconditional(bound)
        and bound.source is None
        and bound.destination is None
        and bound.in_interface is None
        and bound.out_interface is None
        and all(placed.segment.cls.name == "comment" for placed in bound.matches)
    )


def is_unconditional(rule: Rule) -> bool:
    """Does every packet match?"""
    if not may_be_unconditional(rule.bound):
        return False
    conditions = rule.conditions
    return (
        conditions.source in (None, (0, 0))
        and conditions.destination in (None, (0, 0))
        and conditions.in_interface in ("", _EVERY_INTERFACE)
        and conditions.out_interface in ("", _EVERY_INTERFACE)
        and all(map(says_nothing, rule.matches))
    )


def says_nothing(use: Extension) -> bool:
    """Does a use of a match let every packet through (that its protocol lets through)?"""
    given = [
        (option, value) for option, value in zip(use.options, use.values, strict=True) if value is not None
    ]
    if use.name in ("mark", "connmark"):
        return (
            all(option.flag == "--mark" and value == (0, 0) for option, value in given) and not use.inverted
        )
    if use.name in ("conntrack", "state"):
        return not use.inverted and all(
            option.flag in ("--ctstate", "--state") and value & _ALL_STATES == _ALL_STATES
            for option, value in given
        )
    if use.name == "length":
        return not use.inverted and all(value == (0, 0xFFFF) for _, value in given)
    return use.name == "comment"


_MAY_SAY_NOTHING = frozenset(("comment", "mark", "connmark", "conntrack", "state", "length"))


def is_open_to_kernel(rule: Rule, bound: Bound, family: int) -> bool:
    """Is the rule unconditional in the eyes of the legacy kernel (unconditional() of ip_tables.c)?

    It looks at the rule's own fields and for any match at all: a comment is a
    condition, and so is `-i +`, since the name's first byte is set.
    """
    if (
        bound.matches
        or bound.opaque
        or bound.in_interface is not None
        or bound.out_interface is not None
        or bound.protocol
        or bound.fragment
        or bound.source_inverted
        or bound.destination_inverted
        or (family == 6 and "p" in bound.where)
    ):
        return False
    conditions = rule.conditions
    return conditions.source in (None, (0, 0)) and conditions.destination in (None, (0, 0))


def may_be_open_to_kernel(bound: Bound) -> bool:
    return not (bound.matches or bound.opaque or bound.in_interface or bound.out_interface or bound.protocol)


STATE_MATCHES = ("conntrack", "state")
_STATE_FLAGS = ("--ctstate", "--state")


def states_of(rule: Rule) -> tuple[int, bool] | None:
    """The connection states a rule asks for, as bits of xt_conntrack.h, and whether they are negated.

    None where it does not ask, or asks more than once.
    """
    found: tuple[int, bool] | None = None
    for placed in rule.bound.matches:
        if placed.segment.cls.name not in STATE_MATCHES:
            continue
        use = placed.segment.use(placed.key(rule.values), rule.context)
        for option, value in zip(use.options, use.values, strict=True):
            if option.flag in _STATE_FLAGS and value is not None:
                if found is not None:
                    return None
                found = value, bool(use.inverted >> option.index & 1)
    return found


def is_verdict(target: Any) -> bool:
    """Does a target (as `SectionFacts.target_of` gives it) end the packet's way through the table?"""
    return target is not None and not isinstance(target, Jump) and target.name in DECIDING


def is_return(target: Any) -> bool:
    return isinstance(target, Verdict) and target.name == "RETURN"
