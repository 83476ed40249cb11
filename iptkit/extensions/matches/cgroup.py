"""Match by the control group of the process."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import QuotedLabel
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Given, Match, Option, Place, Problem, RuleFacts
from iptkit.values.faults import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_PATH_MAX = 512  # XT_CGROUP_PATH_MAX
# struct xt_cgroup_info_v2, linux/netfilter/xt_cgroup.h: has_path, has_classid, invert_path, invert_classid,
# a union of path and classid, the kernel's pointer
_INFO = struct.Struct(f"=4B{_PATH_MAX}s4x8x")


class Cgroup(Match, name="cgroup"):
    """Match packets of sockets that belong to a control group.

    `--path` is a group of cgroup2, from its root, and counts the groups below
    it in; the group must exist when the rule is loaded.  `--cgroup` is the
    class that net_cls of the first version marks sockets with.  In INPUT only
    established TCP and sockets bound for UDP are known early enough.
    """

    revision = 2
    where = Place(hooks=("INPUT", "OUTPUT", "POSTROUTING"))
    path = Option("--path", type=QuotedLabel(_PATH_MAX - 1), invert=True, doc="path of a group of cgroup2")
    classid = Option("--cgroup", type=UInt(), invert=True, doc="class of net_cls, as 0x10001 for 1:1")
    example = '-m cgroup --path "/user.slice" -j ACCEPT'

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        if len(given) < 2:
            return given
        # Both have the same place in the struct, and each leaves what it does not cover of the other.
        shared = b""
        for field, each in given.items():
            if field == "path":
                piece = each.value.encode("latin-1") + b"\0"
            else:
                piece = struct.pack("=I", each.value)
            shared = piece + shared[len(piece) :]
        path, classid = _read_shared(shared.ljust(4, b"\0"))
        return {
            "path": Given(path, given["path"].inverted),
            "classid": Given(classid, given["classid"].inverted),
        }

    def kernel_check(self, rule: RuleFacts) -> Iterator[Problem]:
        if self.path is not None and self.classid is not None:
            yield Problem("--path and --cgroup exclude each other", "classid", "IPT136")
        elif self.path is None and self.classid is None:
            yield Problem("cgroup needs --path or --cgroup", "", "IPT133")

    def encode(self, family: Family) -> bytes:
        shared = b"" if self.path is None else self.path.encode("latin-1")
        if self.classid is not None:
            shared = struct.pack("=I", self.classid) + shared[4:]
        return _INFO.pack(
            self.path is not None,
            self.classid is not None,
            self.is_inverted("path"),
            self.is_inverted("classid"),
            shared,
        )

    @classmethod
    def decode(cls, payload: bytes, context: Context) -> Self:
        if len(payload) < _INFO.size:
            raise BadValue(f"cgroup: {len(payload)} bytes from the kernel, {_INFO.size} expected")
        has_path, has_classid, *inverted, shared = _INFO.unpack_from(payload)
        path, classid = _read_shared(shared)
        return cls.of(
            path=path if has_path else None,
            classid=classid if has_classid else None,
            inverted=tuple(field for field, bit in zip(("path", "classid"), inverted, strict=True) if bit),
        )

    def matches(self, packet: Packet, world: World) -> bool | None:
        return None  # nobody says which group a socket is of


def _read_shared(shared: bytes) -> tuple[str, int]:
    """The path and the class that the same bytes are."""
    (classid,) = struct.unpack_from("=I", shared)
    return shared.partition(b"\0")[0].decode("latin-1"), classid


EXTENSIONS: tuple[Any, ...] = (Cgroup,)
