"""What `-j CT` and `-j NOTRACK` share: for the kernel they are one target, told apart by a flag.

Facts: linux/netfilter/xt_CT.h, linux/netfilter/nf_conntrack_common.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import Label
from iptkit.extensions.spec import Flag, Given, Option, Place, Problem, Target
from iptkit.extensions.world import Template
from iptkit.values.faults import BadValue
from iptkit.values.names import protocol_name
from iptkit.values.numbers import UINT16_MAX, parse_uint
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.spec import RuleFacts
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

# IPCT_* and IPEXP_*, as far as iptables has names for them
CT_EVENTS = {
    name: 1 << bit
    for bit, name in enumerate(
        (
            "new",
            "related",
            "destroy",
            "reply",
            "assured",
            "protoinfo",
            "helper",
            "mark",
            "natseqinfo",
            "secmark",
        )
    )
}
EXPECT_EVENTS = {"new": 1}

_NOTRACK, _NOTRACK_ALIAS, _ZONE_ORIGINAL, _ZONE_REPLY, _ZONE_MARK = 1, 2, 4, 8, 16
# struct xt_ct_target_info_v1: flags, zone, events, events of expectations, helper, timeout, a kernel pointer
_INFO = struct.Struct("=HHII16s32s4x8x")
# The protocols of the helpers that come with the kernel (net/netfilter/nf_conntrack_*.c); there are others.
_HELPERS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("ftp", "irc", "pptp", "sane", "Q.931", "H.245"), (6,)),
    **dict.fromkeys(("amanda", "netbios-ns", "snmp", "tftp", "RAS"), (17,)),
    "sip": (6, 17),
}
_ZONE_FIELDS = {0: "zone", _ZONE_ORIGINAL: "zone_orig", _ZONE_REPLY: "zone_reply"}


class EventList:
    """A comma list of events, each spelt out; the value is their bits."""

    metavar = "event[,...]"
    words = 1
    code = "IPT129"

    def __init__(self, names: dict[str, int]) -> None:
        self.names = names

    def parse(self, text: str, context: Context) -> int:
        bits = 0
        for word in text.split(","):
            if word not in self.names:
                raise BadValue(f"no event is called {quote(word)}", hint=did_you_mean(word, self.names))
            bits |= self.names[word]
        return bits

    def show(self, value: int) -> str:
        return ",".join(name for name, bit in self.names.items() if value & bit)


class Zone:
    """A conntrack zone by number, or `mark` to take the packet's mark for it."""

    metavar = "{number|mark}"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int | str:
        if text.lower() == "mark":
            return "mark"
        try:
            return parse_uint(text, 0, UINT16_MAX)
        except ValueError:
            raise BadValue(f"must be a zone from 0 to 65535 or mark, not {quote(text)}") from None

    def show(self, value: int | str) -> str:
        return str(value)


_ZONE = Zone()


class Ct(Target, name="CT"):
    """Say how connection tracking is to treat a packet; stands in raw, before tracking.

    --notrack exempts the packet (it is UNTRACKED then); the other options go
    into the connection that it starts.  A zone keeps connections apart that
    have the same addresses and ports: --zone for both directions,
    --zone-orig and --zone-reply for one, both of these together for both
    again.  Zone 0 is the default, and not printed.

    Helper and timeout policy are names of things the kernel must have, and
    need -p.  The kernel gives back only the first four bytes of a timeout's
    name, so that a save of what is loaded has it cut off.
    """

    where = Place(tables=("raw",))
    revision = 2
    notrack = Flag("--notrack", doc="do not track the packet")
    helper = Option("--helper", type=Label(15), doc="conntrack helper for the connection")
    timeout = Option("--timeout", type=Label(31), doc="timeout policy for the connection (nfct(8))")
    ctevents = Option("--ctevents", type=EventList(CT_EVENTS), doc="events of the connection to report")
    expevents = Option(
        "--expevents", type=EventList(EXPECT_EVENTS), doc="events of expected connections to report"
    )
    zone = Option("--zone", type=_ZONE, doc="zone for both directions")
    zone_orig = Option("--zone-orig", type=_ZONE, doc="zone for the original direction")
    zone_reply = Option("--zone-reply", type=_ZONE, doc="zone for the reply direction")
    effect = "drops"
    aware = False
    changes = ("state", "connmark")
    rewrites = ("state", "ct", "conntrack", "connlabel", "helper")
    example = "-p tcp --dport 21 -j CT --helper ftp"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = {}
        directions = 0
        zone: int | str = 0
        marked = False
        for field, found in given.items():
            if field.startswith("zone"):
                # The last number counts, `mark` wherever it stands, and the directions add up.
                zone = found.value
                marked = marked or zone == "mark"
                directions |= {"zone": 0, "zone_orig": _ZONE_ORIGINAL, "zone_reply": _ZONE_REPLY}[field]
            elif found.value != "":
                out[field] = found
        if marked or zone:
            out[_ZONE_FIELDS.get(directions, "zone")] = Given("mark" if marked else zone, False)
        return out

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        # xt_ct_set_helper and xt_ct_set_timeout, net/netfilter/xt_CT.c; with --notrack neither is looked at
        if self.notrack:
            return
        if rule.protocol and not rule.protocol_inverted:
            of = _HELPERS.get(self.helper or "")
            if of is not None and rule.protocol not in of:
                names = " and ".join(map(protocol_name, of))
                yield Problem(f"the kernel's helper {self.helper} is for {names}", "helper")
            return
        for field in ("helper", "timeout"):
            if getattr(self, field) is not None:
                yield Problem(f"--{field} needs -p with one protocol", field, "IPT120", "add -p")

    def encode(self, family: Family) -> bytes:
        flags = _NOTRACK if self.notrack else 0
        number = 0
        for bit, field in _ZONE_FIELDS.items():
            zone = getattr(self, field)
            if zone is not None:
                flags |= bit
                if zone == "mark":
                    flags |= _ZONE_MARK
                else:
                    number = zone
        helper = (self.helper or "").encode("latin-1")
        timeout = (self.timeout or "").encode("latin-1")
        return _INFO.pack(flags, number, self.ctevents or 0, self.expevents or 0, helper, timeout)

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        flags, zone, events, expected, helper, timeout = _unpack(payload)
        if flags & _NOTRACK_ALIAS:
            raise BadValue("CT: made by -j NOTRACK")
        given: dict[str, Any] = {
            "notrack": True if flags & _NOTRACK else None,
            "helper": helper.partition(b"\0")[0].decode("latin-1") or None,
            "timeout": timeout.partition(b"\0")[0].decode("latin-1") or None,
            "ctevents": events or None,
            "expevents": expected or None,
        }
        field = _ZONE_FIELDS.get(flags & (_ZONE_ORIGINAL | _ZONE_REPLY), "zone")
        given[field] = "mark" if flags & _ZONE_MARK else zone or None
        return cls.of(**given)

    def act(self, packet: Packet, world: World) -> str | None:
        # xt_ct_target, net/netfilter/xt_CT.c
        if packet.connection is None and not packet.ctinfo:
            world.attach_template(packet, None if self.notrack else self._template())
        return None

    def _template(self) -> Template:
        zone: int | str = 0
        directions = 3
        for field, bits in (("zone", 3), ("zone_orig", 1), ("zone_reply", 2)):
            found = getattr(self, field)
            if found is not None:
                zone, directions = found, bits
        return Template(
            self.helper or "",
            self.timeout or "",
            0 if isinstance(zone, str) else zone,
            directions,
            isinstance(zone, str),
            self.ctevents or 0,
            self.expevents or 0,
        )


class Notrack(Target, name="NOTRACK"):
    """Exempt a packet from connection tracking: the older form of `-j CT --notrack`.

    The kernel keeps it as the target CT with a mark on it, so that it is
    saved as it was written.
    """

    where = Place(tables=("raw",))
    revision = 2
    kernel_name = "CT"
    effect = "drops"
    aware = False
    changes = ("state", "connmark")
    rewrites = ("state", "ct", "conntrack", "connlabel", "helper")
    example = "-p udp --dport 53 -j NOTRACK"

    def encode(self, family: Family) -> bytes:
        return _INFO.pack(_NOTRACK | _NOTRACK_ALIAS, 0, 0, 0, b"", b"")

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if not _unpack(payload)[0] & _NOTRACK_ALIAS:
            raise BadValue("NOTRACK: made by -j CT")
        return cls.of()

    def act(self, packet: Packet, world: World) -> str | None:
        if packet.connection is None and not packet.ctinfo:
            world.attach_template(packet, None)
        return None


def _unpack(payload: bytes) -> tuple[Any, ...]:
    if len(payload) < _INFO.size:
        raise BadValue(f"CT: {len(payload)} bytes from the kernel, {_INFO.size} expected")
    return _INFO.unpack_from(payload)


__all__ = ["CT_EVENTS", "EXPECT_EVENTS", "Ct", "Notrack"]
