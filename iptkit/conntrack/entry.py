"""A tracked connection (struct nf_conn) and what it keeps.

Small on purpose: a million of them are held.  What most connections do not
have (helper data, NAT sequence adjustments) lives in `extra`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.conntrack.tcp import CLOSE, STATE, TIME_WAIT
from iptkit.extensions.world import (
    ASSURED,
    CONFIRMED,
    DST_NAT,
    DST_NAT_DONE,
    EXPECTED,
    FIXED_TIMEOUT,
    HELPER,
    SEEN_REPLY,
    SEQ_ADJUST,
    SRC_NAT,
    SRC_NAT_DONE,
    TEMPLATE,
)
from iptkit.values.packet import TCP

if TYPE_CHECKING:
    from iptkit.values.tuples import Tuple

# Bits of `status` that are shown, in the kernel's order, with the names conntrack events and dumps use.
STATUS_NAMES = (
    (EXPECTED, "EXPECTED"),
    (SEEN_REPLY, "SEEN_REPLY"),
    (ASSURED, "ASSURED"),
    (CONFIRMED, "CONFIRMED"),
    (SRC_NAT, "SRC_NAT"),
    (DST_NAT, "DST_NAT"),
    (SEQ_ADJUST, "SEQ_ADJUST"),
    (SRC_NAT_DONE, "SRC_NAT_DONE"),
    (DST_NAT_DONE, "DST_NAT_DONE"),
    (FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    (HELPER, "HELPER"),
)


class Entry:
    """One connection.

    original, reply  the tuples of its two directions
    zones            zone id of each direction
    status           IPS_* bits, iptkit.extensions.world
    deadline         when it times out, seconds on the tracker's clock; before it is
                     confirmed, the seconds it will then have
    mark, secmark, labels
    packets, bytes   accounting of each direction
    helper           name of the helper that reads it; "" for none
    master           the connection that announced it
    masquerade       the interface it is masqueraded on; "" for none
    state            the protocol's own: TCP, SCTP and GRE keep an object, others None
    extra            anything rarer, by name: helper data, sequence adjustments,
                     timeout policy, events; None while there is nothing
    """

    __slots__ = (
        "bytes",
        "deadline",
        "extra",
        "helper",
        "labels",
        "mark",
        "masquerade",
        "master",
        "original",
        "packets",
        "reply",
        "secmark",
        "started",
        "state",
        "status",
        "zones",
    )

    def __init__(self, original: Tuple, reply: Tuple, zones: tuple[int, int] = (0, 0)) -> None:
        self.original = original
        self.reply = reply
        self.zones = zones
        self.status = 0
        self.deadline = 0.0
        self.started = 0.0
        self.mark = self.secmark = self.labels = 0
        self.packets = [0, 0]
        self.bytes = [0, 0]
        self.helper = self.masquerade = ""
        self.master: Entry | None = None
        self.state: Any = None
        self.extra: dict[str, Any] | None = None

    @property
    def template(self) -> bool:
        return bool(self.status & TEMPLATE)

    @property
    def confirmed(self) -> bool:
        return bool(self.status & CONFIRMED)

    @property
    def settled(self) -> bool:
        """Is it in the table, read by no helper and its sequence numbers not shifted?"""
        return self.status & (CONFIRMED | SEQ_ADJUST) == CONFIRMED and not self.helper

    @property
    def zone(self) -> int:
        """The zone of the original direction."""
        return self.zones[0]

    @property
    def ended(self) -> bool:
        """Is it TCP in TIME_WAIT or CLOSE?  connlimit counts such a one no more."""
        state = self.state
        return self.original.proto == TCP and state is not None and state[STATE] in (TIME_WAIT, CLOSE)

    def tuple(self, direction: int) -> Tuple:
        """The tuple of a direction: 0 original, 1 reply."""
        return self.reply if direction else self.original

    def remaining(self, now: float) -> int:
        """Seconds until it times out, whole ones, as /proc/net/nf_conntrack prints them; 0 once it has."""
        if not self.status & CONFIRMED:
            return int(self.deadline)
        return max(0, int(self.deadline - now))

    def __repr__(self) -> str:
        return f"<connection {self.original} {self.reply} status {self.status:#x}>"
