"""Conditions that every packet meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.world import ALL_STATES
from iptkit.lint.check import Note, ValueCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.lint.optionvalues import OptionValue

ANY_TYPE = 255  # of ICMP: the kernel takes it for every type
ALL_PORTS = (0, 0xFFFF)

# The options whose value may say nothing, and when it does.
EVERYTHING: dict[str, Callable[[Any], bool]] = {
    "-s": lambda value: value == ((0, 0),),
    "-d": lambda value: value == ((0, 0),),
    "-i": lambda value: value == "+",
    "-o": lambda value: value == "+",
    "--sport": lambda value: value == ALL_PORTS,
    "--dport": lambda value: value == ALL_PORTS,
    "--mark": lambda value: value == (0, 0),
    "--length": lambda value: value == (0, 0xFFFF),
    "--ctstate": lambda value: value & ALL_STATES == ALL_STATES,
    "--state": lambda value: value & ALL_STATES == ALL_STATES,
    "-p": lambda value: value == 0,
    "--icmp-type": lambda value: value[0] == ANY_TYPE,
    "--tcp-flags": lambda value: value == (0, 0),
}
# What says nothing about these, iptables-save does not print.
UNSAVED = ("-s", "-d", "-i", "-o")


class NoOpMatch(ValueCheck, code="IPT221"):
    """Every packet meets this condition.

    What: An address 0.0.0.0/0 or ::/0, an interface +, a protocol all, all ports, ICMP type any, a mark under
        the mask 0, no TCP flags, all five connection states, all lengths.
    Why: It says nothing, and costs time where it is a match.
    Example:
        -A INPUT -s 0.0.0.0/0 -p tcp -j DROP
    Instead:
        -A INPUT -p tcp -j DROP
    """

    options = tuple(flag for flag in EVERYTHING if flag not in UNSAVED)
    odd_options = UNSAVED
    # A zero, a +, an all or any, five states; the rest is looked at in vain.
    pattern = r"(?:\A|[^0-9A-Fa-fx])0|\+|\A[ai:]|,.*,.*,.*,|NONE|255"

    def look(self, value: OptionValue) -> Iterator[Note]:
        if not value.inverted and EVERYTHING[value.flag](value.value):
            yield Note("every packet meets this condition", f"leave out {value.flag}")
