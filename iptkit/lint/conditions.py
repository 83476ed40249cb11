"""What rules ask of a packet, as far as checks must know: nothing at all, something that changes, a verdict.

Words as the catalogue uses them: a *condition* limits the packets a rule
matches; a *changing* condition does not follow from the packet; a *verdict*
ends the packet's way through the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.core import Jump, Verdict
from iptkit.extensions.spec import Extension

if TYPE_CHECKING:
    from iptkit.ruleset.bound import Bound
    from iptkit.ruleset.model import Rule

STATE_MATCHES = ("conntrack", "state")
STATE_FLAGS = ("--ctstate", "--state")
# Bits of xt_conntrack.h
INVALID, ESTABLISHED, RELATED, NEW, UNTRACKED = 0x1, 0x2, 0x4, 0x8, 0x100
EVERY_INTERFACE = "+"


def is_changing(bound: Bound) -> bool:
    """Has the shape a condition that may match one packet and not the next like it?"""
    return any(placed.segment.cls.changing for placed in bound.matches)


def may_say_nothing(part: Bound) -> bool:
    """Can rules of a shape be without conditions, as far as this part of it goes?"""
    if part.protocol or part.fragment or part.opaque:
        return False
    return all(placed.segment.cls.says_nothing is not Extension.says_nothing for placed in part.matches)


def is_only_commented(part: Bound) -> bool:
    """Has this part of a shape no match but comments?"""
    return all(placed.segment.cls.name == "comment" for placed in part.matches)


def is_unconditional(rule: Rule) -> bool:
    """Does every packet match?"""
    bound = rule.bound
    if bound.source_inverted or bound.destination_inverted or bound.in_inverted or bound.out_inverted:
        return False
    conditions = rule.conditions
    return (
        conditions.source in (None, (0, 0))
        and conditions.destination in (None, (0, 0))
        and conditions.in_interface in ("", EVERY_INTERFACE)
        and conditions.out_interface in ("", EVERY_INTERFACE)
        and may_say_nothing(bound)
        and all(use.says_nothing() for use in rule.matches)
    )


def is_open_to_kernel(rule: Rule, family: int) -> bool:
    """Is the rule unconditional in the eyes of the legacy kernel (unconditional() of ip_tables.c)?

    It looks at the rule's own fields and for any match at all: a comment is a
    condition, and so is `-i +`, since the name's first byte is set.
    """
    bound = rule.bound
    if (
        bound.hooked
        or bound.protocol
        or bound.fragment
        or bound.source_inverted
        or bound.destination_inverted
        or bound.matches
        or bound.opaque
        or (family == 6 and "p" in bound.where)
    ):
        return False
    if not bound.lists:
        return True
    conditions = rule.conditions
    return conditions.source in (None, (0, 0)) and conditions.destination in (None, (0, 0))


def states_of(rule: Rule) -> tuple[int, bool] | None:
    """The connection states a rule asks for, as bits of xt_conntrack.h, and whether they are negated.

    None where it does not ask, or asks more than once.
    """
    found: tuple[int, bool] | None = None
    for placed in rule.bound.matches:
        if placed.segment.cls.name in STATE_MATCHES:
            states = states_in(placed.segment.use(placed.key(rule.values), rule.context))
            if states is not None:
                if found is not None:
                    return None
                found = states
    return found


def states_in(use: Extension) -> tuple[int, bool] | None:
    """The same for one use of -m conntrack or -m state."""
    for option, value in zip(use.options, use.values, strict=True):
        if option.flag in STATE_FLAGS and value is not None:
            return value, bool(use.inverted >> option.index & 1)
    return None


# A target is here a Verdict, a Jump, a Target or its class, or None for a rule without one.


def is_verdict(target: Any) -> bool:
    """Does a target end the packet's way through the table?"""
    return target is not None and not isinstance(target, Jump) and bool(target.decides)


def is_logging(target: Any) -> bool:
    """Does a target write a record of the packet, and no more?"""
    return target is not None and not isinstance(target, Jump) and bool(target.logs)


def is_harmless(target: Any) -> bool:
    """Does a target, which is no jump, leave packet, marks and sets as they are for the next rule?"""
    return target is None or bool(target.decides or target.logs or target.harmless)


def is_return(target: Any) -> bool:
    return isinstance(target, Verdict) and target.name == "RETURN"


def is_accept(target: Any) -> bool:
    return isinstance(target, Verdict) and target.name == "ACCEPT"


def names_target(target: Any) -> str:
    """The name of a target; "" for None and for jumps."""
    if target is None or isinstance(target, Jump):
        return ""
    name: str = target.name
    return name
