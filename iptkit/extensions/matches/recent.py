"""Match addresses seen before, out of lists that rules keep themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import Host, pack_host, read_host, unpack_host
from iptkit.extensions.labels import Label, file_name_problem
from iptkit.extensions.layout import Bits, Layout, Number, Pad, Reading, String
from iptkit.extensions.numbers import SignedWord
from iptkit.extensions.spec import Extension, Flag, Given, Match, Option, Problem, RuleFacts
from iptkit.values.addresses import MASK4_ALL, MASK6_ALL, show_address4, show_address6
from iptkit.values.numbers import UINT32_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_ACTIONS = ("set", "rcheck", "update", "remove")
_DEFAULT = b"DEFAULT"
_HITS_MAX = 65535  # XT_RECENT_MAX_NSTAMPS - 1


class Netmask:
    """An address, as a mask; nothing checks that it is one (`24` is 0.0.0.24)."""

    metavar = "netmask"
    words = 1
    code = "IPT125"

    def parse(self, text: str, context: Context) -> Host:
        return context.family, read_host(text, context)

    def show(self, value: Host) -> str:
        family, mask = value
        return show_address4(mask) if family == 4 else show_address6(mask)


class _Inverted:
    """The byte that tells of a `!` before whichever action it was."""

    size = 1

    def write(self, use: Extension, family: Family) -> bytes:
        return bytes([use.inverted != 0])

    def read(self, piece: bytes, into: Reading) -> None:
        if piece != b"\0":
            into.inverted.update(_ACTIONS)  # those that are not there are dropped


class _Side:
    """XT_RECENT_SOURCE or XT_RECENT_DEST."""

    size = 1

    def __init__(self, source: str, destination: str) -> None:
        self.source = source
        self.destination = destination

    def write(self, use: Extension, family: Family) -> bytes:
        return b"\1" if getattr(use, self.destination) else b"\0"

    def read(self, piece: bytes, into: Reading) -> None:
        into.values[self.destination if piece == b"\1" else self.source] = True


class _Name(String):
    """The name, written over DEFAULT as iptables does; what is left of it counts when rules are compared."""

    def write(self, use: Extension, family: Family) -> bytes:
        name: str = getattr(use, self.field) or ""
        written = name.encode("latin-1") + b"\0"
        return (written + _DEFAULT[len(written) :]).ljust(self.size, b"\0")


class _Mask:
    """union nf_inet_addr; without --mask iptables sets all of it, for IPv4 too."""

    size = 16

    def __init__(self, field: str, written: str) -> None:
        self.field = field
        self.written = written

    def write(self, use: Extension, family: Family) -> bytes:
        mask: Host | None = getattr(use, self.field)
        if mask is None or not getattr(use, self.written):
            return b"\xff" * self.size
        return pack_host(mask[1], family)

    def read(self, piece: bytes, into: Reading) -> None:
        family = into.context.family
        into.values[self.field] = (family, unpack_host(piece, family))


def _all_ones(family: Family) -> int:
    return MASK4_ALL if family == 4 else MASK6_ALL


def _others(field: str) -> tuple[str, ...]:
    return tuple(f for f in _ACTIONS if f != field)


LIST_LIMIT = 100  # ip_list_tot: addresses in a list, unless the module is told otherwise


class RecentEntry:
    """An address that was seen: struct recent_entry.

    `stamps` are ticks, `index` is the place after the newest one.
    """

    __slots__ = ("address", "family", "index", "stamps", "ttl")

    def __init__(self, family: Family, address: int, ttl: int, now: int) -> None:
        self.family = family
        self.address = address
        self.ttl = ttl
        self.stamps = [now]
        self.index = 1


class RecentTable:
    """A list of addresses, the one longest not seen first.

    The mask is that of the rule that made it; `stamps` is how many times it keeps of each address.
    """

    __slots__ = ("entries", "family", "mask", "stamps")

    def __init__(self, mask: int, family: Family, stamps: int) -> None:
        self.entries: list[RecentEntry] = []
        self.mask = mask
        self.family = family
        self.stamps = stamps

    def mask_of(self, family: Family) -> int:
        """The mask for addresses of a family; it lies in the same bytes for both."""
        if family == self.family or self.mask == MASK6_ALL:
            return self.mask
        return self.mask >> 96 if family == 4 else self.mask << 96

    def lines(self) -> list[str]:
        """The addresses, their TTL and how often each was seen; sorted, as the kernel has them by a hash."""
        shown = []
        for entry in self.entries:
            if entry.family == 4:
                address = show_address4(entry.address)
            else:
                digits = f"{entry.address:032x}"
                address = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
            shown.append(f"src={address} ttl: {entry.ttl} hits: {entry.index}")
        return sorted(shown)

    def find(self, family: Family, address: int, ttl: int) -> RecentEntry | None:
        for entry in self.entries:
            if (
                entry.address == address
                and entry.family == family
                and (not ttl or not entry.ttl or ttl == entry.ttl)
            ):
                return entry
        return None

    def add(self, family: Family, address: int, ttl: int, now: int) -> None:
        if len(self.entries) >= LIST_LIMIT:
            del self.entries[0]
        self.entries.append(RecentEntry(family, address, ttl, now))

    def renew(self, entry: RecentEntry, ttl: int, now: int) -> None:
        """Another time it was seen."""
        entry.index %= self.stamps
        if entry.index < len(entry.stamps):
            entry.stamps[entry.index] = now
        else:
            entry.stamps.append(now)
        entry.index += 1
        entry.ttl = ttl
        self.entries.remove(entry)
        self.entries.append(entry)


class Recent(Match, name="recent"):
    """Match packets whose source, or destination, is in a list, and keep that list.

    `--set` puts the address into the list, or renews it, and always matches.
    `--rcheck` matches when it is there, `--update` too and renews it,
    `--remove` too and takes it out.  `--seconds` and `--hitcount` narrow the
    two checks: seen within so many seconds, so many times.  Sources can be
    forged; `--rttl` demands the same TTL as well.  The list is
    /proc/net/xt_recent/NAME, holds 100 addresses unless the module is told
    otherwise (ip_list_tot), and lives as long as some rule names it.
    """

    stateful = True

    revision = 1
    at_least_one = _ACTIONS
    set = Flag("--set", invert=True, excludes=_others("set"), doc="put the address into the list")
    rcheck = Flag("--rcheck", invert=True, excludes=_others("rcheck"), doc="match if it is in the list")
    update = Flag("--update", invert=True, excludes=_others("update"), doc="the same, and renew it")
    remove = Flag("--remove", invert=True, excludes=_others("remove"), doc="the same, and take it out")
    seconds = Option("--seconds", type=SignedWord(low=1), doc="seen within so many seconds")
    reap = Flag("--reap", needs=("seconds",), doc="drop entries older than --seconds")
    hitcount = Option("--hitcount", type=SignedWord(), doc="seen at least so many times, up to 65535")
    rttl = Flag("--rttl", excludes=("set", "remove"), doc="seen with the TTL of this packet")
    name_ = Option("--name", type=Label(199), doc="name of the list; DEFAULT if not given")
    mask = Option("--mask", type=Netmask(), doc="mask applied to addresses")
    rsource = Flag("--rsource", doc="look at the source; so it is if nothing is said")
    rdest = Flag("--rdest", doc="look at the destination")
    # struct xt_recent_mtinfo_v1, linux/netfilter/xt_recent.h
    layout = Layout(
        Number("seconds", "I"),
        Number("hitcount", "I"),
        Bits("B", given={1: "rcheck", 2: "set", 4: "update", 8: "remove", 16: "rttl", 32: "reap"}),
        _Inverted(),
        _Name("name_", 200, always=True),
        _Side("rsource", "rdest"),
        Pad(1),
        _Mask("mask", "mask_written"),
    )
    certain = True
    changing = True
    counts = True
    example = (
        "-p tcp -m tcp --dport 22 -m conntrack --ctstate NEW"
        " -m recent --update --seconds 60 --hitcount 4 --name SSH --mask 255.255.255.255 --rsource -j DROP"
    )

    # Whether --mask was given, which only the bytes for the kernel show.
    mask_written = True

    @classmethod
    def read(cls, given: dict[str, Given], context: Context) -> Self:
        use = super().read(given, context)
        use.mask_written = "mask" in given
        return use

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        use = super().decode(payload, context)
        use.mask_written = payload[212:228] != b"\xff" * 16
        return use

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        out.setdefault("name_", Given("DEFAULT", False))
        out.setdefault("mask", Given((context.family, _all_ones(context.family)), False))
        # Of the two sides the later one counts.
        side = next((field for field in reversed(given) if field in ("rsource", "rdest")), "rsource")
        out.pop("rdest" if side == "rsource" else "rsource", None)
        out[side] = Given(True, False)
        if "hitcount" in out and out["hitcount"].value == 0:
            del out["hitcount"]
        return out

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        problem = file_name_problem(self.name_ or "", "name_")
        if problem:
            yield problem
        if self.set or self.remove:
            action = "--set" if self.set else "--remove"
            for field in ("seconds", "hitcount", "reap"):
                if getattr(self, field):
                    flag = getattr(type(self), field).flag
                    yield Problem(
                        f"{flag} goes with --rcheck or --update, not with {action}", field, "IPT136"
                    )
        elif self.hitcount and self.hitcount > _HITS_MAX:
            yield Problem(f"the kernel counts up to {_HITS_MAX}", "hitcount")

    def loaded(self, world: World) -> None:
        # recent_mt_check, net/netfilter/xt_recent.c
        table = self._table(world)
        stamps = self._stamps()
        if stamps > table.stamps:
            table.entries.clear()
            table.stamps = stamps

    def _table(self, world: World) -> RecentTable:
        mask = self.mask[1] if self.mask is not None else _all_ones(world.family)
        if not self.mask_written:
            mask = MASK6_ALL
        found: RecentTable = world.named(
            "recent", self.name_ or "DEFAULT", lambda: RecentTable(mask, world.family, self._stamps())
        )
        return found

    def _stamps(self) -> int:
        """How many times the table keeps for the sake of this rule: a power of two."""
        return 1 << ((self.hitcount or 32) - 1).bit_length()

    def matches(self, packet: Packet, world: World) -> bool | None:
        # recent_mt, net/netfilter/xt_recent.c
        table = self._table(world)
        family = packet.family
        address = (packet.dst if self.rdest else packet.src) & table.mask_of(family)
        # Before FORWARD the TTL has been lowered; what was sent from here has not been.
        forwarded = bool(packet.out_interface) and packet.owner is None
        ttl = packet.ttl + forwarded & 0xFF
        now = int(world.now * world.hz)
        entry = table.find(family, address, ttl if self.rttl else 0)
        inverted = bool(self.inverted)
        if entry is None:
            if not self.set:
                return inverted
            table.add(family, address, ttl, now)
            return not inverted
        if self.set:
            table.renew(entry, ttl, now)
            return not inverted
        if self.remove:
            table.entries.remove(entry)
            return not inverted
        since = now - ((self.seconds or 0) * world.hz & UINT32_MAX)
        hits = sum(not self.seconds or stamp >= since for stamp in entry.stamps)
        answer = (hits >= (self.hitcount or 1)) is not inverted
        renewed = self.update and answer
        if self.reap and table.entries and not (renewed and table.entries[0] is entry):
            oldest = table.entries[0]
            if oldest.stamps[oldest.index - 1] < since:
                del table.entries[0]
        if renewed:
            table.renew(entry, ttl, now)
        return answer


EXTENSIONS: tuple[Any, ...] = (Recent,)
