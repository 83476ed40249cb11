"""What a match or target may ask and do, besides the packet itself.

Extensions know these protocols alone, never conntrack or the evaluator behind
them.  A match answers True, False or None; None is UNKNOWN: neither the packet
nor the world tells.  A target answers with a verdict, or None to go on to the
next rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from iptkit.text.record import NamedTuple
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

T = TypeVar("T")
Truth = bool | None

ACCEPT, DROP, RETURN, STOLEN, QUEUE = "ACCEPT", "DROP", "RETURN", "STOLEN", "QUEUE"

# The states of which every packet has one, bits of linux/netfilter/xt_conntrack.h
ALL_STATES = 0x10F

# Status bits of a connection, linux/netfilter/nf_conntrack_common.h
EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED = 0x001, 0x002, 0x004, 0x008
SRC_NAT, DST_NAT, SEQ_ADJUST, SRC_NAT_DONE, DST_NAT_DONE = 0x010, 0x020, 0x040, 0x080, 0x100
DYING, FIXED_TIMEOUT, TEMPLATE, NAT_CLASH, HELPER = 0x200, 0x400, 0x800, 0x1000, 0x2000
UNTRACKED_BIT, OFFLOAD, HW_OFFLOAD = 0x1000, 0x4000, 0x8000


class HotDrop(Exception):  # the kernel's own word: par->hotdrop
    """The packet is so malformed that a match drops it."""


class CountedDrop(HotDrop):
    """The same, and the rule counts the packet: a `!` has made a match of it."""


class Unknown(Exception):
    """What becomes of the packet hangs on something nobody knows; the message says on what."""


class Owner(NamedTuple):
    """The local socket that sent a packet.  None in a field: not known; the whole None: no socket."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None


class Connection(Protocol):
    """A tracked connection, as extensions see it.  Of pairs the first is the original direction's."""

    original: Tuple
    reply: Tuple
    status: int  # bits, see above
    mark: int
    secmark: int
    labels: int  # 128 bits
    zone: int
    packets: list[int]
    bytes: list[int]
    helper: str
    master: Connection | None

    def remaining(self, now: float) -> int:
        """Seconds until it times out, whole ones."""

    @property
    def template(self) -> bool: ...

    @property
    def ended(self) -> bool:
        """Is it TCP in TIME_WAIT or CLOSE?"""


class NatRange(NamedTuple):
    """Where NAT may move a packet (struct nf_nat_range2).  None: not asked for."""

    addresses: tuple[int, int] | None = None
    ports: tuple[int, int] | None = None
    base_port: int | None = None  # PROTO_OFFSET: shifted port mapping
    random: bool = False  # --random
    random_fully: bool = False
    persistent: bool = False
    netmap: bool = False
    masquerade: bool = False  # the connection ends when it is to leave by another interface


class _Template(NamedTuple):
    helper: str = ""
    timeout: str = ""
    zone: int = 0
    zone_dir: int = 3  # bits: 1 original, 2 reply
    zone_from_mark: bool = False
    ctevents: int = 0
    expevents: int = 0


class Template(_Template):
    """What `-j CT` says of a connection that is to begin.

    Until then the packet has it for its connection: one without addresses.
    """

    __slots__ = ()
    template = True
    ended = False
    status = TEMPLATE | CONFIRMED
    original = reply = Tuple(0, 0, 0, 0, 0, 0)
    mark = secmark = labels = 0
    packets = bytes = (0, 0)
    master = None

    def remaining(self, now: float) -> int:
        return 0


class Record(NamedTuple):
    """What LOG, NFLOG or ULOG wrote."""

    kind: str  # "LOG", "NFLOG", "ULOG"
    prefix: str
    group: int = 0
    level: int = 4


class World(Protocol):
    """Everything around a packet: clock, machine, tables of connections, named objects."""

    family: Family
    now: float  # seconds since the epoch; the time of this packet
    hz: int  # ticks of the kernel's clock in a second (CONFIG_HZ)
    minutes_west: int  # the kernel's time zone, of Greenwich
    hook: str  # "PREROUTING" ...
    table: str

    # -- memory

    def memory(self, factory: Callable[[], T]) -> T:
        """What this match (or target) of this rule keeps between packets."""

    def named(self, kind: str, name: str, factory: Callable[[], T]) -> T:
        """What all rules share under a name: recent lists, hashlimit tables, rate estimators, quotas ..."""

    def choose(self, question: str, options: range | tuple[Any, ...]) -> Any:
        """One of the outcomes of what the kernel leaves to chance."""

    # -- the machine

    def address_type(self, address: int, interface: str | None) -> str | None:
        """The kind of an address: "LOCAL", "UNICAST", "BROADCAST" and so on, as -m addrtype calls them.

        None where it is not known.  `interface` limits the question to an interface.
        """

    def reverse_path(self, packet: Packet, *, loose: bool, valid_mark: bool, accept_local: bool) -> Truth:
        """Would an answer to the packet leave by the interface it came in by (xt_rpfilter)?"""

    def device_group(self, interface: str) -> int | None: ...

    def socket(self, packet: Packet) -> Any:
        """The local socket the packet is for: something with `transparent`, `wildcard` and `mark`.

        False: there is none; None: not known.
        """

    def ipset(self, name: str) -> Any:
        """A loaded set (iptkit.extensions.sets.Set), or None."""

    def source_address(self, packet: Packet) -> int | None:
        """The address MASQUERADE takes: the preferred source on the way out."""

    def interface_address(self, packet: Packet) -> int | None:
        """The address REDIRECT takes: the first of the interface the packet came in by."""

    def path_mtu(self, packet: Packet) -> int | None:
        """The MTU of the route out, or of the route back to the sender where that is smaller."""

    def queue_program(self, queue: int) -> Truth:
        """Does a program listen to the NFQUEUE?"""

    # -- connections

    def tuple_of(self, packet: Packet) -> Tuple | None:
        """The tuple the packet would be tracked by; None where its headers do not have one."""

    def find_connection(self, tuple_: Tuple, zone: int, direction: int) -> Connection | None:
        """A confirmed connection with this tuple in this direction; -1 for either."""

    # -- what targets do

    def nat(self, packet: Packet, range_: NatRange, kind: str) -> str:
        """Set up the translation of the packet's connection; kind "SNAT" or "DNAT".  Gives the verdict."""

    def attach_template(self, packet: Packet, template: Template | None) -> None:
        """`-j CT`; None is --notrack."""

    def record(self, packet: Packet, record: Record) -> None:
        """Something is logged."""

    def reject(self, packet: Packet, kind: str) -> None:
        """Send what `-j REJECT --reject-with kind` sends; `kind` is the option's value, as it is saved."""

    def icmp_error(self, packet: Packet, kind: int, code: int, info: int = 0) -> None:
        """Answer with an ICMP error of the machine's own; `info` is what its second word holds."""

    def send(self, packet: Packet) -> None:
        """Send a packet of the machine's own through OUTPUT (SYNPROXY)."""

    def copy_to(self, packet: Packet, gateway: int, interface: str) -> None:
        """TEE: send a copy to a gateway."""

    def deliver_locally(self, packet: Packet, address: int, port: int) -> bool | None:
        """TPROXY: is there a local socket for the packet?"""
