"""Addresses and ports that do not mean what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iptkit.lint.check import Fault, Note, ValueCheck
from iptkit.values.addresses import host_bits4, host_bits6, show_network4, show_network6

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.lint.optionvalues import OptionValue


class HostBitsSet(ValueCheck, code="IPT209"):
    """An address has bits set outside its mask.

    What: -s or -d with an address that is not the first of its network.
    Why: The bits are dropped without a word: `10.0.0.5/24` is all of 10.0.0.0/24, not one host.
    Example:
        -s 10.0.0.5/24
    Instead:
        -s 10.0.0.0/24
    """

    odd_options = ("-s", "-d")
    pattern = "/"

    def look(self, value: OptionValue) -> Iterator[Note]:
        has_bits = host_bits4 if value.family == 4 else host_bits6
        if has_bits(value.text):
            show = show_network4 if value.family == 4 else show_network6
            kept = ",".join(show(*network) for network in value.value)
            yield Note(f"bits outside the mask are dropped: this is {kept}", f"write {kept}")


class Hostname(Fault, code="IPT218"):
    """A host name stands where an address belongs.

    What: A name in -s or -d, or in the address of a NAT target; or a user or group that this machine does not
        have.
    Why: In -s and -d the name is looked up once, when the file is loaded, and the load fails where no name
        server answers: at boot, for example.  In NAT targets names are refused.
    Example:
        -s www.example.com
    Instead:
        -s 192.0.2.80/32
    """


class OctalNumber(ValueCheck, code="IPT219"):
    """A leading zero makes a number octal.

    What: A number with a leading zero in an address or a port.
    Why: `010.0.0.1` is 8.0.0.1, and port `022` is 18.
    Example:
        -s 010.0.0.1
    Instead:
        -s 10.0.0.1
    """

    odd_options = (
        "-s",
        "-d",
        "--sport",
        "--dport",
        "--sports",
        "--dports",
        "--ports",
        "--src-range",
        "--dst-range",
    )
    pattern = r"(?:^|[./,:-])0[0-9]"

    _NUMBER = r"(?:^|(?<=[./,:-]))0[0-9]+(?=$|[./,:-])"

    def look(self, value: OptionValue) -> Iterator[Note]:
        if ":" in value.text and value.flag in ("-s", "-d", "--src-range", "--dst-range"):
            return  # IPv6 groups are hexadecimal, whatever their zeros
        if value.owner is not None and value.owner.name in ("udp", "dccp"):
            return  # these read every number as decimal
        found = re.search(self._NUMBER, value.text)
        if found:
            yield Note(f"{found[0]} is octal, and means {int(found[0], 8)}", "leave out the zero")
