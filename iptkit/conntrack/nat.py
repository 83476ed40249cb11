"""NAT: where a connection is moved to, and the packets of a connection that was moved.

A connection's first packet walks the nat chains; what they say is set up as a
change of the connection's reply tuple.  Every packet is then given the tuple
that is the inverse of the other direction's.

Facts: net/netfilter/nf_nat_core.c, nf_nat_proto.c and nf_nat_helper.c, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.conntrack import manip, seqadj
from iptkit.conntrack.expect import Expectations
from iptkit.conntrack.tcp import END as TCP_END
from iptkit.conntrack.tcp import SEEN, STATE, SYN_SENT, TIME_WAIT
from iptkit.conntrack.tracker import invert
from iptkit.extensions.world import (
    ACCEPT,
    CONFIRMED,
    DROP,
    DST_NAT,
    DST_NAT_DONE,
    DYING,
    FIXED_TIMEOUT,
    SEQ_ADJUST,
    SRC_NAT,
    SRC_NAT_DONE,
    NatRange,
)
from iptkit.values.jhash import jhash2
from iptkit.values.packet import (
    CT_ESTABLISHED,
    CT_ESTABLISHED_REPLY,
    CT_NEW,
    CT_RELATED,
    CT_RELATED_REPLY,
    GRE,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
)
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.expect import Expectation
    from iptkit.conntrack.tracker import Tracker
    from iptkit.values.packet import Packet

_MASK = 0xFFFFFFFF
_NAT = SRC_NAT | DST_NAT
ESTABLISHED = (CT_ESTABLISHED, CT_ESTABLISHED_REPLY)
_RELATED = (CT_RELATED, CT_RELATED_REPLY)
_BOTH_DONE = SRC_NAT_DONE | DST_NAT_DONE
_PORTS = frozenset((TCP, UDP, UDPLITE, SCTP))
_KEYED = _PORTS | {GRE}

# Protocols of which one packet may overtake another and begin the same connection (allow_clash).
CLASHING = frozenset((UDP, UDPLITE, GRE))
MAX_ATTEMPTS = 128  # NF_NAT_MAX_ATTEMPTS: ports tried in a row
HARDER = 32  # NF_NAT_HARDER_THRESH: of these last attempts a closing connection may be evicted
_REDIRECTS = {4: 5, 6: 137}  # ICMP redirect, by family


class Nat:
    """NAT of one machine.

    tracker        its connection tracking
    expectations   what the tracker's helpers announced
    choose         asked for what the kernel leaves to chance: a question, and its possible answers
    broadcast_mask asked by the NetBIOS helper: the netmask of the interface whose broadcast address a
                   packet is sent to, 0 where it is none
    """

    __slots__ = (
        "_by_source",
        "broadcast_mask",
        "choose",
        "expectations",
        "tracker",
    )

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.expectations = Expectations(tracker.stats, tracker.settings.get("nf_conntrack_expect_max"))
        self.choose: Callable[[str, range | tuple[Any, ...]], Any] = _first
        self.broadcast_mask: Callable[[Packet], int] | None = None
        # Connections whose source was changed, by what it was: a second one from there is moved alike.
        # Nearly always there is one, and then no list around it, since a million are held.
        self._by_source: dict[int, Entry | list[Entry]] = {}
        self.expectations.nat = self
        tracker.find_expectation = self._find_expectation
        tracker.on_destroy.append(self._destroyed)

    # -- what the tracker tells

    def _find_expectation(
        self, tuple_: Tuple, zones: tuple[int, int], tracked: bool, now: float
    ) -> Expectation | None:
        return self.expectations.claim(tuple_, zones[0] or zones[1], now)

    def _destroyed(self, entry: Entry, now: float) -> None:
        if entry.status & SRC_NAT:
            self._leave(entry)
        if entry.original.proto == GRE and entry.master is not None:
            from iptkit.conntrack.helpers.pptp import forget_keys  # helpers are rare

            forget_keys(self, entry.master)
        if entry.helper:
            from iptkit.conntrack.helpers import destroyed  # helpers are rare

            destroyed(self, entry, now)
            self.expectations.forget(entry)

    # -- packets

    def inet(self, packet: Packet, kind: str, hook: str, now: float, walk: Callable[[Packet], str]) -> str:
        """What NAT does at a hook (nf_nat_inet_fn and its callers).

        `kind` is "DNAT" at PREROUTING and OUTPUT, "SNAT" at INPUT and
        POSTROUTING; `walk` walks the nat chain of the hook.  Gives ACCEPT, or
        the verdict that ends the packet.
        """
        entry: Entry | None = packet.connection
        if entry is None:
            return ACCEPT
        ctinfo = packet.ctinfo
        if ctinfo in ESTABLISHED:
            if not entry.masquerade and not entry.status & _NAT:
                return ACCEPT
            if entry.masquerade and self._left_masquerade(packet, entry, hook):
                self.tracker.kill(entry, now)
                return DROP
            return self.translate(packet, kind)
        if ctinfo in _RELATED and packet.proto in (ICMP, ICMPV6):
            return self.translate_error(packet, kind)
        if ctinfo == CT_NEW or ctinfo in _RELATED:
            done = SRC_NAT_DONE if kind == "SNAT" else DST_NAT_DONE
            if not entry.status & done:
                verdict = walk(packet)
                if verdict != ACCEPT:
                    return verdict
                if not entry.status & done:
                    verdict = self.bind(entry, kind, now)
                    if verdict != ACCEPT:
                        return verdict
            elif self._left_masquerade(packet, entry, hook):
                self.tracker.kill(entry, now)
                return DROP
        return self.translate(packet, kind)

    def _left_masquerade(self, packet: Packet, entry: Entry, hook: str) -> bool:
        """Does a masqueraded connection leave by another interface than it began (nf_nat_oif_changed)?"""
        return (
            hook == "POSTROUTING"
            and entry.masquerade not in ("", packet.out_interface)
            and packet.ctinfo < CT_ESTABLISHED_REPLY
        )

    def translate(self, packet: Packet, kind: str) -> str:
        """Give a packet the addresses and ports its connection was moved to, if it was (nf_nat_packet)."""
        entry: Entry | None = packet.connection
        if entry is None or not entry.status & _NAT:
            return ACCEPT
        reply = packet.ctinfo >= CT_ESTABLISHED_REPLY
        bit = SRC_NAT if (kind == "SNAT") != reply else DST_NAT
        if not entry.status & bit:
            return ACCEPT
        other = entry.original if reply else entry.reply
        if other.proto in (TCP, UDP):
            if kind == "SNAT":
                done = manip.rewrite_source(packet, other.dst, other.destination)
            else:
                done = manip.rewrite_destination(packet, other.src, other.source)
            return ACCEPT if done else DROP
        target = invert(other)
        if target is None or not manip.rewrite(packet, target, source=kind == "SNAT"):
            return DROP
        return ACCEPT

    def translate_error(self, packet: Packet, kind: str) -> str:
        """Translate an ICMP error and the packet it quotes (nf_nat_icmp_reply_translation)."""
        entry: Entry = packet.connection
        if not manip.error_intact(packet):
            return DROP
        if packet.data[packet.l4] == _REDIRECTS[packet.family] and (
            entry.status & _BOTH_DONE != _BOTH_DONE or entry.status & _NAT
        ):
            return DROP
        source = kind == "SNAT"
        reply = packet.ctinfo >= CT_ESTABLISHED_REPLY
        if not entry.status & (SRC_NAT if source != reply else DST_NAT):
            return ACCEPT
        other = entry.original if reply else entry.reply
        # What is quoted went the other way: its destination is this packet's source.
        if not manip.rewrite_quoted(packet, other, source=not source):
            return DROP
        target = invert(other)
        if target is None:
            return DROP
        manip.set_address(packet, target.src if source else target.dst, source=source)
        return ACCEPT

    def help(self, packet: Packet, now: float) -> str:
        """Let the connection's helper read a packet that is about to leave, and shift its sequence numbers.

        At the end of INPUT and POSTROUTING, just before the packet is
        confirmed (nf_confirm).
        """
        entry: Entry | None = packet.connection
        if entry is None:
            return ACCEPT
        adjusting = entry.status & SEQ_ADJUST and packet.in_interface != "lo"
        if not entry.helper and not adjusting:
            return ACCEPT
        if packet.ctinfo == CT_RELATED_REPLY or (packet.family == 6 and packet.fragment_offset):
            return ACCEPT
        if entry.helper:
            from iptkit.conntrack.helpers import run  # helpers are rare

            verdict = run(self, packet, entry, now)
            if verdict != ACCEPT:
                return verdict
        if adjusting and not seqadj.adjust(packet, entry, int(packet.ctinfo >= CT_ESTABLISHED_REPLY)):
            self.tracker.bump("drop")
            return DROP
        return ACCEPT

    # -- connections

    def target(self, packet: Packet, range_: NatRange, kind: str, now: float) -> str:
        """What a rule of the nat table says of a connection's first packet."""
        entry: Entry = packet.connection
        verdict = self.setup(entry, range_, kind, now)
        if range_.masquerade and not entry.status & CONFIRMED:
            entry.masquerade = packet.out_interface
        return verdict

    def bind(self, entry: Entry, kind: str, now: float) -> str:
        """No rule wants to move it: keep its address, and change only what clashes (a null binding)."""
        status, reply = entry.status, entry.reply
        if status & CONFIRMED:
            return ACCEPT
        if kind == "DNAT":
            if reply.proto not in (ICMP, ICMPV6, GRE):  # of these alone it could change anything
                entry.status = status | DST_NAT_DONE
                return ACCEPT
        elif self.tracker.lookup(reply, entry.zones, now)[0] is None:
            entry.status = status | SRC_NAT_DONE
            return ACCEPT
        address = reply.dst if kind == "SNAT" else reply.src
        return self.setup(entry, NatRange((address, address)), kind, now)

    def setup(self, entry: Entry, range_: NatRange, kind: str, now: float) -> str:
        """Move the connection into a range (nf_nat_setup_info); `kind` is "SNAT" or "DNAT"."""
        if entry.status & CONFIRMED:
            return ACCEPT
        source = kind == "SNAT"
        done = SRC_NAT_DONE if source else DST_NAT_DONE
        if entry.status & done:
            return DROP
        current = invert(entry.reply)
        if current is None:
            return DROP
        new = self._unique(entry, current, range_, source, now)
        if new != current:
            reply = invert(new)
            if reply is None:
                return DROP
            self.tracker.alter_reply(entry, reply)
            entry.status |= SRC_NAT if source else DST_NAT
            if entry.helper:
                seqadj.prepare(entry)
            if source:
                self.adopt(entry)
        entry.status |= done
        return ACCEPT

    def adopt(self, entry: Entry) -> None:
        """Let later connections from the same source be moved as this one is; for those read from a dump."""
        if entry.status & SRC_NAT:
            key = _source_key(entry.original, entry.zones)
            # Those of dropped first packets never had a place in the table, and were not destroyed.
            known = [each for each in self._from(key) if _alive(each)]
            self._by_source[key] = [entry, *known] if known else entry

    def _from(self, key: int) -> list[Entry]:
        """The connections from a source that was changed, newest first."""
        known = self._by_source.get(key, [])
        return known if isinstance(known, list) else [known]

    def _leave(self, entry: Entry) -> None:
        key = _source_key(entry.original, entry.zones)
        known = [each for each in self._from(key) if each is not entry]
        if known:
            self._by_source[key] = known
        else:
            self._by_source.pop(key, None)

    def taken(self, tuple_: Tuple, entry: Entry, now: float) -> bool:
        """Would the connection, moved like this, be answered as another one is?

        The tuple is the outgoing packet's (nf_nat_used_tuple).
        """
        return self._holder(tuple_, entry, now) is not None

    def _holder(self, tuple_: Tuple, entry: Entry, now: float) -> tuple[Entry, int] | None:
        reply = invert(tuple_)
        if reply is None:
            return None
        other, direction = self.tracker.lookup(reply, entry.zones, now)
        if other is None or other is entry:
            return None
        if other.original == entry.original and other.zones[0] == entry.zones[0]:
            return None  # the same flow, begun twice: settled when it is confirmed
        return other, direction

    def _taken_new(self, tuple_: Tuple, entry: Entry, now: float) -> bool:
        """Is it taken, though nothing is moved yet (nf_nat_used_tuple_new)?

        Not by its own mirror image, which is not moved either: that is left
        to be settled when the connection is confirmed.
        """
        if not self.taken(tuple_, entry, now):
            return False
        if tuple_.proto not in CLASHING or entry.status & (_NAT | SEQ_ADJUST):
            return True
        other, _ = self.tracker.lookup(tuple_, entry.zones, now)
        if other is None:
            reply = invert(tuple_)
            other = self.tracker.lookup(reply, entry.zones, now)[0] if reply is not None else None
        if other is None:
            return False
        return bool(other.status & (_NAT | SEQ_ADJUST)) or other.original != entry.reply

    def _unique(self, entry: Entry, current: Tuple, range_: NatRange, source: bool, now: float) -> Tuple:
        """A tuple within the range that no other connection has, if possible (get_unique_tuple)."""
        chance = range_.random or range_.random_fully
        if source and not chance:
            if _in_range(current, range_):
                if not self._taken_new(current, entry, now):
                    return current
            else:
                alike = self._moved_before(entry, current, range_)
                if alike is not None and not self.taken(alike, entry, now):
                    return alike
        new = _pick_address(current, range_, source, entry.zones[0] or entry.zones[1])
        if not chance:
            ports = range_.ports
            if ports is None:
                if not self.taken(new, entry, now):
                    return new
            elif (
                range_.base_port is None
                and _port_in_range(new, ports, source)
                and (ports[0] == ports[1] or not self.taken(new, entry, now))
            ):
                return new
        return self._pick_port(entry, new, range_, source, now)

    def _moved_before(self, entry: Entry, current: Tuple, range_: NatRange) -> Tuple | None:
        """Where another connection from this very source was moved to (find_appropriate_src)."""
        for other in self._from(_source_key(current, entry.zones)):
            moved = invert(other.reply) if _alive(other) else None
            if moved is None:
                continue
            result = current._replace(src=moved.src, source=moved.source)
            if _in_range(result, range_):
                return result
        return None

    def _pick_port(self, entry: Entry, new: Tuple, range_: NatRange, source: bool, now: float) -> Tuple:
        """Another port, id or key, so that nothing clashes (nf_nat_l4proto_unique_tuple)."""
        proto, ports = new.proto, range_.ports
        field = "source" if source or proto in (ICMP, ICMPV6) else "destination"
        key: int = getattr(new, field)
        if proto in (ICMP, ICMPV6):
            low, high = ports or (0, 65535)
        elif proto == GRE:
            if entry.master is None:
                return new
            low, high = ports or (1, 65535)
        elif proto in _PORTS:
            if ports is not None:
                low, high = min(ports), max(ports)
            elif not source:
                return new
            else:
                low, high = source_ports(key)
        else:
            return new
        size = high - low + 1
        if range_.base_port is not None:
            start = key - range_.base_port & 0xFFFF
        elif source or range_.random or range_.random_fully:
            start = self._chance(entry, new, field, range(high, low - 1, -1), now)
        else:
            start = 0
        attempts = min(size, MAX_ATTEMPTS)
        tried = new
        while True:
            for left in range(attempts, 0, -1):
                tried = new._replace(**{field: low + (start & 0xFFFF) % size & 0xFFFF})
                if not self._taken_harder(tried, entry, left, now):
                    return tried
                start += 1
            if attempts >= size or attempts < 16:
                return tried
            attempts //= 2
            start = self._chance(entry, new, field, range(high, low - 1, -1), now)

    def _chance(self, entry: Entry, new: Tuple, field: str, values: range, now: float) -> int:
        """Where the search starts, counted from the lowest value.

        The kernel starts anywhere and goes up to what is free; whatever is
        free can come of it, so start there.
        """
        lowest = values[-1]
        if len(values) == 1:
            return 0
        chosen = int(self.choose("NAT: the port", values))
        for _ in range(min(len(values), MAX_ATTEMPTS)):
            if chosen != getattr(new, field) and not self.taken(new._replace(**{field: chosen}), entry, now):
                break
            chosen = chosen - 1 if chosen > lowest else values[0]
        return chosen - lowest

    def _taken_harder(self, tuple_: Tuple, entry: Entry, attempts_left: int, now: float) -> bool:
        """Is it taken?  Towards the end a closing connection makes room (nf_nat_used_tuple_harder)."""
        holder = self._holder(tuple_, entry, now)
        if holder is None:
            return False
        if attempts_left > HARDER or tuple_.proto != TCP or entry.state is None:
            return True
        if entry.state[STATE] != SYN_SENT:
            return True
        other, direction = holder
        if direction == 0 or other.state[STATE] < TIME_WAIT:
            return True
        if other.status & (FIXED_TIMEOUT | DYING) or not other.status & SRC_NAT:
            return True
        if not seqadj.after(entry.state[SEEN[0] + TCP_END], other.state[SEEN[0] + TCP_END]):
            return True
        self.tracker.kill(other, now)
        return False


def source_ports(port: int) -> tuple[int, int]:
    """From which ports another source port is taken when nothing is said: of the same class as it was."""
    if port < 512:
        return 1, 511
    if port < 1024:
        return 600, 1023
    return 1024, 65535


def follow_master(nat: Nat, entry: Entry, expectation: Expectation, now: float) -> None:
    """NAT of an announced connection: as its master's is (nf_nat_follow_master)."""
    other = expectation.master.tuple(not expectation.direction)
    nat.setup(entry, NatRange((other.dst, other.dst)), "SNAT", now)
    port = expectation.saved_port
    nat.setup(entry, NatRange((other.src, other.src), (port, port)), "DNAT", now)


def _first(question: str, options: range | tuple[Any, ...]) -> Any:
    return options[0]


def _alive(entry: Entry) -> bool:
    return entry.status & (CONFIRMED | DYING) == CONFIRMED


def _source_key(tuple_: Tuple, zones: tuple[int, int]) -> int:
    """Source address and port, protocol, family and zone as one number."""
    return tuple_.src << 48 | tuple_.source << 32 | tuple_.proto << 24 | (tuple_.family == 6) << 16 | zones[0]


def _in_range(tuple_: Tuple, range_: NatRange) -> bool:
    """Does a source meet the range (nf_in_range)?"""
    addresses, ports = range_.addresses, range_.ports
    if addresses is not None and not addresses[0] <= tuple_.src <= addresses[1]:
        return False
    return ports is None or _port_in_range(tuple_, ports, True)


def _port_in_range(tuple_: Tuple, ports: tuple[int, int], source: bool) -> bool:
    if tuple_.proto in (ICMP, ICMPV6):
        return ports[0] <= tuple_.source <= ports[1]
    if tuple_.proto in _KEYED:
        return ports[0] <= (tuple_.source if source else tuple_.destination) <= ports[1]
    return True


def _words(family: int, address: int) -> list[int]:
    """An address as the kernel's four 32-bit words, which lie in memory in network order."""
    data = address.to_bytes(4, "big") + bytes(12) if family == 4 else address.to_bytes(16, "big")
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, 16, 4)]


def _swapped(word: int) -> int:
    return int.from_bytes(word.to_bytes(4, "little"), "big")


def _pick_address(tuple_: Tuple, range_: NatRange, source: bool, zone: int) -> Tuple:
    """The address of the range that fits best: a hash of source and destination (find_best_ips_proto)."""
    addresses = range_.addresses
    if addresses is None:
        return tuple_
    low, high = addresses
    if low != high:
        family = tuple_.family
        last = 0 if family == 4 else 3
        destination = _words(family, tuple_.dst)
        minimum, maximum = _words(family, low), _words(family, high)
        persistent = range_.persistent
        hashed = jhash2(_words(family, tuple_.src), 0 if persistent else destination[last] ^ zone)
        full = False
        chosen = []
        for place in range(last + 1):
            start, size = 0, _MASK
            if not full:
                start = _swapped(minimum[place])
                size = _swapped(maximum[place]) - start + 1 & _MASK
            word = _swapped(start + (hashed * size >> 32) & _MASK)
            chosen.append(word)
            if word != maximum[place]:
                full = True
            if not persistent:
                # What was the destination is by now what was chosen, if that is what is being moved.
                hashed ^= destination[place] if source else word
        low = int.from_bytes(b"".join(word.to_bytes(4, "little") for word in chosen), "big")
    family, src, from_, dst, to, proto = tuple_
    return Tuple(family, low, from_, dst, to, proto) if source else Tuple(family, src, from_, low, to, proto)
