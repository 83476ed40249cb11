"""Sets by number and name, and the rules that hold them, compared with what the real tool loads."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

import pytest

from iptkit.extensions.ipset import NeedsSet, SetRef
from iptkit.extensions.targets.set import Set
from iptkit.kernel import ipset, sockopt
from iptkit.values.context import Context

if TYPE_CHECKING:
    from .conftest import Netns

ODD = "weave-;rGqyMIl1HN^cfDki~Z$3]6!N"


def _make_sets(netns: Netns) -> None:
    netns.need("ipset")
    for words in ("one hash:ip", "two hash:net", f"{ODD} hash:ip,port", "ports bitmap:port range 1-9"):
        made = netns.run("ipset", "create", *words.split(), check=False)
        if made.returncode:
            pytest.skip(f"cannot make a set here: {made.stderr.decode().strip()}")
    netns.run("ipset", "create", "six", "hash:ip", "family", "inet6")


def test_numbers_and_names_are_each_others_inverse(netns: Netns) -> None:
    _make_sets(netns)
    names = ("one", "two", ODD, "ports", "six")
    with netns.entered():
        indices = ipset.indices_of(names)
        assert len(set(indices.values())) == len(names)
        assert ipset.names_of(indices.values()) == {index: name for name, index in indices.items()}
        assert ipset.set_name(ipset.set_index("one")) == "one"


def test_what_is_not_there_is_said(netns: Netns) -> None:
    _make_sets(netns)
    with netns.entered():
        with pytest.raises(ipset.SetError, match="no set called 'three'") as found:
            ipset.set_index("three")
        assert found.value.errno == errno.ENOENT
        with pytest.raises(ipset.SetError, match="no set with the number 200"):
            ipset.set_name(200)
        with pytest.raises(ipset.SetError, match="not made room for so many"):
            ipset.set_name(65000)
        with pytest.raises(ipset.SetError, match="1 to 31 bytes"):
            ipset.set_index("x" * 32)
        with pytest.raises(ipset.SetError, match="cannot be a set's number"):
            ipset.set_name(0xFFFF)


def test_a_set_of_the_other_family_is_refused(netns: Netns) -> None:
    _make_sets(netns)
    with netns.entered():
        assert ipset.set_index("six", 6) == ipset.set_index("six")
        with pytest.raises(ipset.SetError, match="'six' is for IPv6, and the rule for IPv4"):
            ipset.set_index("six", 4)
        with pytest.raises(ipset.SetError, match="'one' is for IPv4"):
            ipset.set_index("one", 6)
        assert ipset.set_index("ports", 4) == ipset.set_index("ports", 6)


@pytest.mark.parametrize(
    ("rule", "use"),
    [
        ("--add-set one src", Set.of(add_set=SetRef("one", (True,)))),
        (
            f"--add-set {ODD} dst,src --exist --timeout 7 --del-set two src",
            Set.of(
                add_set=SetRef(ODD, (False, True)),
                exist=True,
                timeout=7,
                del_set=SetRef("two", (True,)),
            ),
        ),
        (
            "--map-set two dst --map-mark --map-queue",
            Set.of(map_set=SetRef("two", (False,)), map_mark=True, map_queue=True),
        ),
    ],
)
def test_the_struct_is_the_real_tools(netns: Netns, rule: str, use: Set) -> None:
    _make_sets(netns)
    netns.need("iptables-legacy-restore")
    netns.run("iptables-legacy-restore", text=f"*mangle\n-A OUTPUT -j SET {rule}\nCOMMIT\n")
    with netns.entered():
        image = sockopt.read_table(4, "mangle")
        entry = next(e for _, e in sockopt.entries(image) if image.layout.target_name(e) == "SET")
        at = image.layout.target_offset(entry)
        size, _, revision = struct.unpack_from("@H29sB", entry, at)
        payload = bytes(entry[at + 32 : at + size])
        assert revision == Set.revision
        with pytest.raises(NeedsSet) as wanted:
            use.encode(4)
        mine = use.encode_with(4, ipset.indices_of(wanted.value.names, 4))
        assert mine.ljust(len(payload), b"\0") == payload
        with pytest.raises(NeedsSet) as found:
            Set.decode(payload, Context(4))
        assert Set.decode_with(payload, Context(4), ipset.names_of(found.value.indices)) == use
        assert use.text() == f"SET {rule}"
