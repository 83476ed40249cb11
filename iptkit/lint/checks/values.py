"""Values of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.lint.check import Fault, Note, ValueCheck
from iptkit.text.diagnostic import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.optionvalues import OptionValue


class MultiportOver15(Fault, code="IPT122"):
    """A list of ports is too long.

    What: A multiport list takes more than 15 slots; a port takes one, a range two.
    Why: The line is refused.
    Example:
        --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16
    Instead:
        (two rules)
    """


class BadCtstate(Fault, code="IPT123"):
    """There is no such connection state.

    What: A word of --ctstate or --state is none of INVALID, NEW, RELATED, ESTABLISHED and UNTRACKED, nor for
        --ctstate SNAT or DNAT; or the list has an empty item or a blank in it.
    Why: The line is refused.
    Example:
        --ctstate ESTABLISHED,RELATD
    Instead:
        --ctstate ESTABLISHED,RELATED
    """


class WrongFamily(Fault, code="IPT124"):
    """Something belongs to the other IP version.

    What: An address, match or target of IPv6 in an IPv4 ruleset, or the other way round.
    Why: The line is refused.
    Example:
        *filter (IPv4)
        -A INPUT -s 2001:db8::/32 -j DROP
    Instead:
        (in the IPv6 file)
    """


class BadAddress(Fault, code="IPT125"):
    """An address cannot be read.

    What: An address, mask or MAC address that is none.
    Why: The line is refused.
    Example:
        -s 10.0.0.256
    Instead:
        -s 10.0.0.25
    """


class BadPort(Fault, code="IPT126"):
    """A port cannot be read.

    What: A port over 65535, a service without a name here, an empty item, or a dash where a range has a colon
        (in NAT targets the other way round).
    Why: The line is refused.
    Example:
        --dport 80-90
    Instead:
        --dport 80:90
    """


class ReversedRange(ValueCheck, code="IPT127"):
    """A range runs backwards.

    What: The first value of a range is larger than the second.
    Why: Where it is not refused, the rule loads and never matches.
    Example:
        -p udp --dport 90:80
    Instead:
        -p udp --dport 80:90
    """

    options = ("--sport", "--dport", "--length", "--src-range", "--dst-range", "--espspi", "--ahspi")
    pattern = "[:-]"

    def look(self, value: OptionValue) -> Iterator[Note]:
        low, high = _ends(value.value)
        if low is not None and low > high:
            what = "this range runs backwards, and nothing is in it"
            yield Note(what, "the smaller end first", Severity.WARNING)


def _ends(value: Any) -> tuple[Any, Any]:
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(end, int) for end in value):
        return value
    return None, None


class BadRate(Fault, code="IPT128"):
    """A rate cannot be kept.

    What: A rate over 10000/s or of 0, with a fraction or an unknown unit; or a burst that the kernel cannot
        count with.
    Why: The line is refused, some of them by the legacy kernel alone.
    Example:
        --limit 100000/s
    Instead:
        --limit 10000/s
    """


class BadValue(Fault, code="IPT129"):
    """A value is not one the option takes.

    What: A number out of range, a name that is not in the list, a text that is too long, where no check of
        its own says so.
    Why: The line is refused.
    Example:
        -m dscp --dscp 64
    Instead:
        -m dscp --dscp 63
    """


class NegatedList(Fault, code="IPT138"):
    """! stands before a list of addresses.

    What: `! -s` or `! -d` with more than one address.
    Why: A list makes one rule for each address, and each of them would take what the others leave.  Refused.
    Example:
        ! -s 10.0.0.1,10.0.0.2
    Instead:
        (an ipset, or RETURN rules before)
    """


class InterfaceTooLong(Fault, code="IPT139"):
    """The name of an interface is too long.

    What: More than 15 bytes in -i, -o or the like; a final + counts.
    Why: No interface has such a name.  The line is refused.
    Example:
        -i averylonginterface0
    Instead:
        -i averylongint0
    """
