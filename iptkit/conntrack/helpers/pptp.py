"""PPTP: calls that are set up on a TCP connection and carried by GRE, told apart by call ids.

PNS is the network server, here the side that opened the control connection;
PAC the access concentrator.  Each announces the id that the other is to send.

Facts: net/netfilter/nf_conntrack_pptp.c, net/ipv4/netfilter/nf_nat_pptp.c,
Linux 6.18; RFC 2637.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.expect import ADDED, Expectation, Policy
from iptkit.conntrack.helpers.reading import NATTED, established, mangle_tcp, tcp_data
from iptkit.conntrack.tracker import invert
from iptkit.extensions.world import ACCEPT, DROP, NatRange
from iptkit.values.packet import GRE
from iptkit.values.tuples import ORIGINAL, REPLY, Tuple

if TYPE_CHECKING:
    from iptkit.conntrack.entry import Entry
    from iptkit.conntrack.nat import Nat
    from iptkit.values.packet import Packet

POLICY = Policy(2, 300)

_CONTROL, _MAGIC = 1, 0x1A2B3C4D
_HEADERS = 12  # bytes before a message's own fields
(_START_REQUEST, _START_REPLY, _STOP_REQUEST, _STOP_REPLY, _ECHO_REQUEST, _ECHO_REPLY) = range(1, 7)
(_OUT_REQUEST, _OUT_REPLY, _IN_REQUEST, _IN_REPLY, _IN_CONNECT, _CLEAR, _DISCONNECT) = range(7, 14)
_WAN_ERROR, _LINK_INFO = 14, 15
# Bytes of each message, without the headers.
_SIZES = {
    _START_REQUEST: 144,
    _START_REPLY: 144,
    _STOP_REQUEST: 4,
    _STOP_REPLY: 4,
    _OUT_REQUEST: 156,
    _OUT_REPLY: 20,
    _IN_REQUEST: 208,
    _IN_REPLY: 12,
    _IN_CONNECT: 16,
    _CLEAR: 4,
    _DISCONNECT: 136,
    _WAN_ERROR: 28,
    _LINK_INFO: 12,
}
_OK = 1  # the result code of a yes, in every answer

# States of the session and of the call, in the kernel's order, which is compared.
(_NO_SESSION, _SESSION_ERROR, _SESSION_STOPPING, _SESSION_REQUESTED, _SESSION_CONFIRMED) = range(5)
(_NO_CALL, _CALL_ERROR, _OUT_REQUESTED, _OUT_CONFIRMED, _IN_REQUESTED, _IN_REPLIED, _IN_CONFIRMED) = range(7)
_CLEARING = 7

# Where NAT rewrites a call id: in what the PNS says, and in what the PAC says.
_OUTBOUND_IDS = {_OUT_REQUEST: 0, _IN_REPLY: 0, _CLEAR: 0}
_INBOUND_IDS = {_OUT_REPLY: 2, _IN_CONNECT: 0, _WAN_ERROR: 0, _DISCONNECT: 0, _LINK_INFO: 0}


class Control:
    """What is known of a control connection.

    pns, pac      call ids as the PAC sees them
    own_pns, own_pac  before NAT changed them
    keys          the entries it made in the tracker's key map
    """

    __slots__ = ("call", "keys", "own_pac", "own_pns", "pac", "pns", "session")

    def __init__(self) -> None:
        self.session = self.call = 0
        self.pns = self.pac = self.own_pns = self.own_pac = 0
        self.keys: dict[int, tuple[Tuple, int]] = {}


def _control(entry: Entry) -> Control:
    if entry.extra is None:
        entry.extra = {}
    found: Control = entry.extra.setdefault("pptp", Control())
    return found


def read(nat: Nat, packet: Packet, entry: Entry, direction: int, now: float) -> str:
    """Read a control message."""
    start = tcp_data(packet) if established(packet) else -1
    if start < 0 or len(packet.data) < start + _HEADERS:
        return ACCEPT
    data = packet.data
    if data[start + 2] << 8 | data[start + 3] != _CONTROL or data[start + 4 : start + 8] != _MAGIC.to_bytes(
        4, "big"
    ):
        return ACCEPT
    message = data[start + 8] << 8 | data[start + 9]
    fields = bytes(data[start + _HEADERS :])
    if len(fields) < _SIZES.get(message, 0):
        return ACCEPT
    control = _control(entry)
    fits = _inbound if direction else _outbound
    if not fits(nat, entry, control, message, fields, now) or not entry.status & NATTED:
        return ACCEPT
    return _translate(packet, entry, control, message, direction)


def _two(fields: bytes, at: int) -> int:
    return fields[at] << 8 | fields[at + 1]


def _outbound(nat: Nat, entry: Entry, control: Control, message: int, fields: bytes, now: float) -> bool:
    """What the PNS says; False: it does not fit."""
    if message == _START_REQUEST:
        if control.session != _NO_SESSION:
            return False
        control.session = _SESSION_REQUESTED
    elif message == _STOP_REQUEST:
        control.session = _SESSION_STOPPING
    elif message == _OUT_REQUEST:
        if control.session != _SESSION_CONFIRMED:
            return False
        control.call = _OUT_REQUESTED
        control.pns = _two(fields, 0)
    elif message == _IN_REPLY:
        if control.call not in (_IN_REQUESTED, _IN_REPLIED) or control.pac != _two(fields, 2):
            return False
        if fields[4] == _OK:
            control.call = _IN_REPLIED
            control.pns = _two(fields, 0)
        else:
            control.call = _NO_CALL
    elif message == _CLEAR:
        if control.session != _SESSION_CONFIRMED:
            return False
        control.call = _CLEARING
    else:
        return message in (_LINK_INFO, _ECHO_REQUEST, _ECHO_REPLY)
    return True


def _inbound(nat: Nat, entry: Entry, control: Control, message: int, fields: bytes, now: float) -> bool:
    """What the PAC says; False: it does not fit."""
    confirmed = control.session == _SESSION_CONFIRMED
    if message == _START_REPLY:
        if control.session < _SESSION_REQUESTED:
            return False
        control.session = _SESSION_CONFIRMED if fields[2] == _OK else _SESSION_ERROR
    elif message == _STOP_REPLY:
        if control.session > _SESSION_STOPPING:
            return False
        control.session = _NO_SESSION if fields[0] == _OK else _SESSION_ERROR
    elif message == _OUT_REPLY:
        call, peer = _two(fields, 0), _two(fields, 2)
        if not confirmed or control.call not in (_OUT_REQUESTED, _OUT_CONFIRMED) or control.pns != peer:
            return False
        if fields[4] == _OK:
            control.call = _OUT_CONFIRMED
            control.pac = call
            _expect_calls(nat, entry, control, call, peer, now)
        else:
            control.call = _NO_CALL
    elif message == _IN_REQUEST:
        if not confirmed:
            return False
        control.call = _IN_REQUESTED
        control.pac = _two(fields, 0)
    elif message == _IN_CONNECT:
        peer = _two(fields, 0)
        if not confirmed or control.call not in (_IN_REPLIED, _IN_CONFIRMED) or control.pns != peer:
            return False
        control.call = _IN_CONFIRMED
        _expect_calls(nat, entry, control, control.pac, peer, now)
    elif message == _DISCONNECT:
        control.call = _NO_CALL
        destroyed(nat, entry, now)
    else:
        return message in (_WAN_ERROR, _ECHO_REQUEST, _ECHO_REPLY)
    return True


def _expect_calls(nat: Nat, entry: Entry, control: Control, call: int, peer: int, now: float) -> None:
    """Expect GRE from both sides (exp_gre)."""
    announced = []
    for direction, source, destination in ((ORIGINAL, peer, call), (REPLY, call, peer)):
        own = entry.tuple(direction)
        expectation = Expectation(
            entry,
            Tuple(4, own.src, source, own.dst, destination, GRE),
            POLICY,
            source_port_mask=0xFFFF,
        )
        expectation.direction = direction
        expectation.on_arrival = _arrived
        announced.append(expectation)
    first, second = announced
    if entry.status & NATTED:
        control.own_pac = control.pac
        first.saved_port = control.pns
        first.tuple_ = first.tuple_._replace(source=control.own_pns, destination=control.pac)
        second.saved_port = control.own_pns
        second.tuple_ = second.tuple_._replace(source=control.own_pac, destination=control.pns)
    if nat.expectations.add(first, now) != ADDED:
        return
    if nat.expectations.add(second, now) != ADDED:
        nat.expectations.remove(first)
        return
    for direction, expectation in enumerate(announced):
        if not _add_key(nat, control, direction, expectation.tuple_):
            _forget_keys(nat, control)
            nat.expectations.remove(first)
            nat.expectations.remove(second)
            return


def _add_key(nat: Nat, control: Control, direction: int, tuple_: Tuple) -> bool:
    """Let GRE packets be known by their source key (nf_ct_gre_keymap_add)."""
    bare = tuple_._replace(source=0)
    if direction in control.keys:
        return control.keys[direction][0] == bare
    control.keys[direction] = bare, tuple_.source
    nat.tracker.keymap.setdefault(bare, tuple_.source)
    return True


def forget_keys(nat: Nat, master: Entry) -> None:
    """A call is over: its keys are not known any more (destroy_gre_conntrack)."""
    _forget_keys(nat, _control(master))


def _forget_keys(nat: Nat, control: Control) -> None:
    for bare, source in control.keys.values():
        if nat.tracker.keymap.get(bare) == source:
            del nat.tracker.keymap[bare]
    control.keys.clear()


def destroyed(nat: Nat, entry: Entry, now: float) -> None:
    """The call is over, or the control connection gone: forget the calls (pptp_destroy_siblings)."""
    control = _control(entry)
    _forget_keys(nat, control)
    original, reply = entry.original, entry.reply
    for tuple_ in (
        original._replace(proto=GRE, source=control.pns, destination=control.pac),
        reply._replace(proto=GRE, source=control.pac, destination=control.pns),
    ):
        sibling, _ = nat.tracker.lookup(tuple_, entry.zones, now)
        if sibling is not None:
            nat.tracker.kill(sibling, now)
            continue
        expectation = nat.expectations.find(tuple_, entry.zones[0] or entry.zones[1])
        if expectation is not None:
            nat.expectations.remove(expectation)


def _arrived(nat: Nat, entry: Entry, expectation: Expectation, now: float) -> None:
    """A call's first packet: its answer is not announced any more (pptp_expectfn)."""
    master = expectation.master
    zone = entry.zones[0] or entry.zones[1]
    if not master.status & NATTED:
        other = invert(expectation.tuple_)
    else:
        control, way = _control(master), master.tuple(not expectation.direction)
        if expectation.direction == ORIGINAL:
            other = Tuple(4, way.src, control.pac, way.dst, control.pns, GRE)
        else:
            # The kernel looks for the ids in the call's own, empty NAT data.
            other = Tuple(4, way.src, 0, way.dst, 0, GRE)
    found = nat.expectations.find(other, zone) if other is not None else None
    if found is not None:
        nat.expectations.remove(found)
    if not master.status & NATTED:
        return
    way = master.tuple(not expectation.direction)
    saved = (expectation.saved_port, expectation.saved_port)
    nat.setup(
        entry,
        NatRange((way.dst, way.dst), saved if expectation.direction == ORIGINAL else None),
        "SNAT",
        now,
    )
    nat.setup(
        entry,
        NatRange((way.src, way.src), saved if expectation.direction == REPLY else None),
        "DNAT",
        now,
    )


def _translate(packet: Packet, entry: Entry, control: Control, message: int, direction: int) -> str:
    """Rewrite call ids where NAT stands between (pptp_outbound_pkt, pptp_inbound_pkt)."""
    if direction:
        at, call = _INBOUND_IDS.get(message), control.own_pns
    else:
        at, call = _OUTBOUND_IDS.get(message), control.pns
        if message == _OUT_REQUEST:
            # The kernel takes the port that NAT gave the control connection.
            control.own_pns = control.pns
            call = control.pns = entry.reply.destination
    if at is None:
        return ACCEPT
    if not mangle_tcp(packet, entry, direction, _HEADERS + at, 2, call.to_bytes(2, "big")):
        return DROP
    return ACCEPT
