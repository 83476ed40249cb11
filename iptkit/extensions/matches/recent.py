"""Match addresses seen before, out of lists that rules keep themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.hosts import Host, pack_host, read_host, unpack_host
from iptkit.extensions.labels import Label, file_name_problem
from iptkit.extensions.layout import Bits, Layout, Number, Pad, Reading, String
from iptkit.extensions.numbers import SignedWord
from iptkit.extensions.spec import Extension, Flag, Given, Match, Option, Problem, RuleFacts
from iptkit.values.addresses import MASK4_ALL, MASK6_ALL, show_address4, show_address6

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.values.context import Context, Family

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


EXTENSIONS: tuple[Any, ...] = (Recent,)
