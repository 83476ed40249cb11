"""Match who made a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Pair
from iptkit.extensions.spec import Flag, Match, Option, Place, Problem
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX, parse_uint, parse_uint_prefix
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.extensions.spec import Given, RuleFacts
    from iptkit.extensions.world import Owner as Socket
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

IdRange = tuple[int, int]
_HIGHEST = UINT32_MAX - 1  # the last number means "no id" to the kernel


class Ids:
    """A name, a number, or `low-high` in numbers; a name is asked for first."""

    words = 1
    code = "IPT129"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.metavar = f"{kind}|id[-id]"

    def parse(self, text: str, context: Context) -> IdRange:
        known = (context.names.user if self.kind == "user" else context.names.group)(text)
        if known is not None:
            return known, known
        try:
            low, rest = parse_uint_prefix(text, 0, _HIGHEST)
            if not rest:
                return low, low
            if rest[0] in "-:":
                return low, parse_uint(rest[1:], 0, _HIGHEST)
        except ValueError:
            pass
        digit = text[:1].isdecimal()
        raise BadValue(
            f"must be a number from 0 to {_HIGHEST} or LOW-HIGH, not {quote(text)}"
            if digit
            else f"no {self.kind} is called {quote(text)}",
            hint="" if digit else f"write the {self.kind}'s number",
        )

    def show(self, value: IdRange) -> str:
        low, high = value
        return str(low) if low == high else f"{low}-{high}"


class Owner(Match, name="owner"):
    """Match packets made on this machine by the user or group whose socket sent them.

    In OUTPUT and POSTROUTING only.  Packets without a socket (forwarded ones,
    and some the kernel makes) match nothing but `! --socket-exists`.  A name
    is looked up when the rule is loaded; ranges are of numbers only, low
    before high.
    """

    revision = 1
    where = Place(hooks=("OUTPUT", "POSTROUTING"))
    at_least_one = ("uid_owner", "gid_owner", "socket_exists")
    socket_exists = Flag("--socket-exists", invert=True, doc="the packet has a socket")
    uid_owner = Option("--uid-owner", type=Ids("user"), invert=True, doc="user, by name, number or range")
    gid_owner = Option("--gid-owner", type=Ids("group"), invert=True, doc="group, by name, number or range")
    suppl_groups = Flag(
        "--suppl-groups", doc="look at the supplementary groups too; stands after --gid-owner"
    )
    # struct xt_owner_match_info, linux/netfilter/xt_owner.h
    layout = Layout(
        Pair("uid_owner", "I", (0, 0), always=True),
        Pair("gid_owner", "I", (0, 0), always=True),
        Bits("B", given={1: "uid_owner", 2: "gid_owner", 4: "socket_exists", 8: "suppl_groups"}),
        Bits("B", inverted={1: "uid_owner", 2: "gid_owner", 4: "socket_exists"}),
        size=20,
    )
    example = "-m owner --uid-owner 0 -j ACCEPT"

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        written = list(given)
        if "suppl_groups" in given and "gid_owner" not in written[: written.index("suppl_groups")]:
            raise BadValue("--suppl-groups needs --gid-owner before it", "IPT133")
        return given

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        for field, ids in (("uid_owner", self.uid_owner), ("gid_owner", self.gid_owner)):
            if ids is not None and ids[0] > ids[1]:
                yield Problem(f"range is reversed: {ids[0]} is above {ids[1]}", field, "IPT127")

    def matches(self, packet: Packet, world: World) -> bool | None:
        # owner_mt, net/netfilter/xt_owner.c
        owner = packet.owner
        if owner is None:
            # Without a socket all that is asked for must be asked for with a `!`.
            return all(
                self.inverted >> index & 1 for index, value in enumerate(self.values) if value is not None
            )
        if self.socket_exists and self.is_inverted("socket_exists"):
            return False
        unknown = False
        if self.uid_owner is not None:
            if owner.uid is None:
                unknown = True
            elif (self.uid_owner[0] <= owner.uid <= self.uid_owner[1]) is self.is_inverted("uid_owner"):
                return False
        if self.gid_owner is not None:
            member = self._member(owner)
            if member is None:
                unknown = True
            elif member is self.is_inverted("gid_owner"):
                return False
        return None if unknown else True

    def _member(self, owner: Socket) -> bool | None:
        """Is one of the socket's groups in the range?"""
        low, high = self.gid_owner or (0, 0)
        if owner.gid is not None and low <= owner.gid <= high:
            return True
        if not self.suppl_groups:
            return None if owner.gid is None else False
        if owner.groups is None:
            return None
        return None if owner.gid is None else any(low <= group <= high for group in owner.groups)


EXTENSIONS: tuple[Any, ...] = (Owner,)
