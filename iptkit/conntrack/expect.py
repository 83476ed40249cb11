"""Connections that are announced before they come: expectations.

A helper reads an announcement ("PORT 10,0,1,2,4,1") on a connection, the
master, and notes whom to expect.  The first packet that fits is RELATED, and
its connection's master is the one that announced it.

Facts: net/netfilter/nf_conntrack_expect.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.extensions.world import CONFIRMED, DYING
from iptkit.text.record import NamedTuple
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat

PERMANENT, INACTIVE, USERSPACE = 1, 2, 4  # NF_CT_EXPECT_*
_FLAG_NAMES = ((PERMANENT, "PERMANENT"), (INACTIVE, "INACTIVE"), (USERSPACE, "USERSPACE"))

# Answers of add(): it is expected now; the tuple clashes with another expectation; the same was
# expected already, by another connection; no room.
ADDED, BUSY, ALREADY, FULL = "added", "busy", "already", "full"

# nf_conntrack_expect_max of a machine with 262,144 buckets: buckets / 256 * 4.
DEFAULT_MAX = 4096


class Policy(NamedTuple):
    """What a helper allows of one class of expectations (struct nf_conntrack_expect_policy).

    maximum   at a time from one master; 0: no limit
    timeout   seconds until one is given up
    name      shown after the helper's, "sip/audio"; "" for none
    """

    maximum: int
    timeout: int
    name: str = ""


class Expectation:
    """A connection to come.

    tuple_            of its first packet; source port 0 where any will do
    source_mask       bits of the source address that count
    source_port_mask  0 or 0xffff
    class_            index into the helper's policies
    helper            name of the helper its connection gets; "" for none
    flags             PERMANENT: stays after it was met; INACTIVE: not yet in force
    deadline          when it is given up
    on_arrival        what NAT does to its connection
    nat               the NAT that does it; known once it is expected
    saved_address, saved_port, direction
                      for NAT: where the announcement had really pointed, and the
                      direction of the master in which the connection comes
    """

    __slots__ = (
        "class_",
        "deadline",
        "direction",
        "flags",
        "helper",
        "master",
        "master_helper",
        "nat",
        "on_arrival",
        "policy",
        "saved_address",
        "saved_port",
        "source_mask",
        "source_port_mask",
        "tuple_",
    )

    def __init__(
        self,
        master: Entry,
        tuple_: Tuple,
        policy: Policy,
        *,
        class_: int = 0,
        source_mask: int | None = None,
        source_port_mask: int = 0,
        flags: int = 0,
    ) -> None:
        """`source_mask` None: the whole source address counts."""
        self.master = master
        self.master_helper = master.helper
        self.tuple_ = tuple_
        self.policy = policy
        self.class_ = class_
        if source_mask is None:
            source_mask = 0xFFFFFFFF if tuple_.family == 4 else (1 << 128) - 1
        self.source_mask = source_mask
        self.source_port_mask = source_port_mask
        self.flags = flags
        self.helper = ""
        self.deadline = 0.0
        self.on_arrival: Callable[[Nat, Entry, Expectation, float], None] | None = None
        self.nat: Nat | None = None
        self.saved_address = self.saved_port = 0
        self.direction = 0

    def fits(self, tuple_: Tuple) -> bool:
        """Is a packet with this tuple the one (nf_ct_tuple_mask_cmp)?"""
        own = self.tuple_
        return (
            own.dst == tuple_.dst
            and own.destination == tuple_.destination
            and own.proto == tuple_.proto
            and own.family == tuple_.family
            and not (own.src ^ tuple_.src) & self.source_mask
            and not (own.source ^ tuple_.source) & self.source_port_mask
        )

    def same_as(self, other: Expectation) -> bool:
        """Do both expect exactly the same?"""
        return (
            self.tuple_ == other.tuple_
            and self.source_mask == other.source_mask
            and self.source_port_mask == other.source_port_mask
        )

    def clashes(self, other: Expectation) -> bool:
        """Is there a packet that fits both?"""
        one, two = self.tuple_, other.tuple_
        return (
            one.dst == two.dst
            and one.destination == two.destination
            and one.proto == two.proto
            and one.family == two.family
            and not (one.src ^ two.src) & self.source_mask & other.source_mask
            and not (one.source ^ two.source) & self.source_port_mask & other.source_port_mask
        )

    def began(self, entry: Entry, now: float) -> None:
        """The announced connection is here: let NAT see to it."""
        if self.on_arrival is not None and self.nat is not None:
            self.on_arrival(self.nat, entry, self, now)

    def line(self, now: float) -> str:
        """As /proc/net/nf_conntrack_expect shows it."""
        own = self.tuple_
        if own.proto == 47:
            ports = f"srckey=0x{own.source:x} dstkey=0x{own.destination:x} "
        elif own.proto in (1, 58):
            kind, code = own.destination >> 8, own.destination & 0xFF
            ports = f"type={kind} code={code} id={own.source} "
        elif own.proto in (6, 17, 33, 132, 136):
            ports = f"sport={own.source} dport={own.destination} "
        else:
            ports = ""
        flags = ",".join(name for bit, name in _FLAG_NAMES if self.flags & bit)
        helper = self.master_helper + (f"/{self.policy.name}" if self.policy.name else "")
        return (
            f"{max(0, int(self.deadline - now))} l3proto = {2 if own.family == 4 else 10} proto={own.proto} "
            f"src={_written(own.family, own.src)} dst={_written(own.family, own.dst)} {ports}"
            f"{flags}{' ' if flags and helper else ''}{helper}"
        )


def _written(family: int, address: int) -> str:
    if family == 4:
        return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
    text = f"{address:032x}"
    return ":".join(text[at : at + 4] for at in range(0, 32, 4))


def _zone(entry: Entry) -> int:
    """The zone a connection was given, whichever direction it is for."""
    return entry.zones[0] or entry.zones[1]


class Expectations:
    """All expectations of a machine; those of a connection are its `extra["expectations"]`, too."""

    __slots__ = ("_by_destination", "count", "maximum", "nat", "stats")

    def __init__(self, stats: dict[str, int] | None = None, maximum: int = DEFAULT_MAX) -> None:
        """`stats` is where expect_create and expect_delete are counted."""
        self._by_destination: dict[tuple[int, int, int, int], list[Expectation]] = {}
        self.nat: Nat | None = None
        self.count = 0
        self.maximum = maximum
        self.stats = stats if stats is not None else {}

    def __iter__(self) -> Iterator[Expectation]:
        for bucket in self._by_destination.values():
            yield from bucket

    def of(self, master: Entry) -> list[Expectation]:
        """What a connection announced, newest first."""
        found: list[Expectation] = master.extra.get("expectations", []) if master.extra else []
        return found

    def find(self, tuple_: Tuple, zone: int) -> Expectation | None:
        """An expectation that a packet with this tuple fits, in force or not."""
        bucket = self._by_destination.get((tuple_.family, tuple_.dst, tuple_.destination, tuple_.proto))
        for expectation in bucket or ():
            if expectation.fits(tuple_) and _zone(expectation.master) == zone:
                return expectation
        return None

    def claim(self, tuple_: Tuple, zone: int, now: float) -> Expectation | None:
        """The expectation that a new connection meets; it is used up unless permanent."""
        if not self.count:
            return None
        self.expire(now)
        self._bury()
        bucket = self._by_destination.get((tuple_.family, tuple_.dst, tuple_.destination, tuple_.proto))
        for expectation in bucket or ():
            if expectation.flags & INACTIVE or not expectation.fits(tuple_):
                continue
            master = expectation.master
            if _zone(master) != zone:
                continue
            if not master.status & CONFIRMED or master.status & DYING:
                return None
            if not expectation.flags & PERMANENT:
                self.remove(expectation)
            return expectation
        return None

    def add(self, new: Expectation, now: float, *, any_master: bool = False) -> str:
        """Expect it from now on (nf_ct_expect_related).

        Answers ADDED, BUSY, ALREADY or FULL.  `any_master`: the same
        expectation of another connection counts as well.
        """
        self.expire(now)
        self._bury(new.master)
        tuple_ = new.tuple_
        key = (tuple_.family, tuple_.dst, tuple_.destination, tuple_.proto)
        for old in list(self._by_destination.get(key, ())):
            if _zone(old.master) != _zone(new.master):
                continue
            if (any_master or old.master is new.master) and old.same_as(new):
                if old.class_ != new.class_ or old.master is not new.master:
                    return ALREADY
                self.remove(old)
                break
            if old.clashes(new):
                return BUSY
        limit = new.policy.maximum
        if limit:
            own = [each for each in self.of(new.master) if each.class_ == new.class_]
            if len(own) >= limit:
                self.remove(own[-1])
                if len(own) > limit:
                    return FULL
        if self.count >= self.maximum:
            return FULL
        new.deadline = now + new.policy.timeout
        self._by_destination.setdefault(key, []).insert(0, new)
        if new.master.extra is None:
            new.master.extra = {}
        new.master.extra.setdefault("expectations", []).insert(0, new)
        new.nat = self.nat
        self.count += 1
        self.stats["expect_create"] = self.stats.get("expect_create", 0) + 1
        return ADDED

    def remove(self, expectation: Expectation) -> bool:
        """No longer expect it; False: it was not."""
        tuple_ = expectation.tuple_
        key = (tuple_.family, tuple_.dst, tuple_.destination, tuple_.proto)
        bucket = self._by_destination.get(key)
        if not bucket or expectation not in bucket:
            return False
        bucket.remove(expectation)
        if not bucket:
            del self._by_destination[key]
        self.of(expectation.master).remove(expectation)
        self.count -= 1
        self.stats["expect_delete"] = self.stats.get("expect_delete", 0) + 1
        return True

    def forget(self, master: Entry) -> None:
        """The connection is gone, and what it announced with it."""
        for expectation in list(self.of(master)):
            self.remove(expectation)

    def expire(self, now: float) -> None:
        """Give up what is late."""
        if self.count:
            for expectation in [each for each in self if each.deadline <= now]:
                self.remove(expectation)

    def postpone(self, seconds: float) -> None:
        """Let all of them live so much longer: time passed that is none to them."""
        for expectation in self:
            expectation.deadline += seconds

    def _bury(self, living: Entry | None = None) -> None:
        """Forget what was announced by first packets that were dropped then: their connections never were.

        `living` is the connection of the packet at hand.
        """
        for expectation in list(self):
            master = expectation.master
            if master is not living and (not master.status & CONFIRMED or master.status & DYING):
                self.remove(expectation)

    def clear(self) -> None:
        """Expect nothing any more."""
        for expectation in list(self):
            self.remove(expectation)

    def lines(self, now: float) -> list[str]:
        """As /proc/net/nf_conntrack_expect shows them, sorted; the kernel has them in no order.

        Times that differ by less than a second do not count in the order.
        """
        self.expire(now)
        self._bury()
        shown = [(round(each.deadline - now), each.line(now)) for each in self]
        return [line for _, line in sorted(shown, key=lambda each: (str(each[0]), each[1].split(" ", 1)[1]))]
