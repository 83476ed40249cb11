"""Tables read and written whole, compared with what iptables-legacy-save says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from iptkit.kernel import sockopt

if TYPE_CHECKING:
    from iptkit.values.context import Family

    from .conftest import Netns

BIG = 2**64 - 1

RULES_V4 = f"""\
*nat
:PREROUTING ACCEPT [1:60]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [2:120]
:POSTROUTING ACCEPT [3:180]
:DOCKER - [0:0]
[4:240] -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
[5:300] -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
[6:360] -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*mangle
:PREROUTING ACCEPT [10:1000]
:INPUT ACCEPT [11:1100]
:FORWARD ACCEPT [12:1200]
:OUTPUT ACCEPT [13:1300]
:POSTROUTING ACCEPT [14:1400]
[15:1500] -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
[16:1600] -A OUTPUT -j MARK --set-xmark 0x1/0xffffffff
COMMIT
*filter
:INPUT DROP [100:10000]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [{BIG}:{BIG}]
:ERROR - [0:0]
:logdrop - [0:0]
[1:40] -A INPUT -p tcp -m tcp --dport 22 -m comment --comment "ssh, but \\"slow\\"" -j ERROR
[2:80] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[3:120] -A INPUT -m quota --quota 123456 -j ACCEPT
[0:0] -A FORWARD -m hashlimit --hashlimit-upto 10/sec --hashlimit-mode srcip --hashlimit-name web -g logdrop
[{BIG}:{BIG}] -A ERROR -m recent --update --seconds 60 --name ssh --mask 255.255.255.255 --rsource -j DROP
[5:200] -A ERROR -m recent --set --name ssh --mask 255.255.255.255 --rsource
[6:240] -A logdrop -m limit --limit 3/min -j LOG --log-prefix "dropped: "
[7:280] -A logdrop -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""

RULES_V6 = """\
*raw
:PREROUTING ACCEPT [1:60]
:OUTPUT ACCEPT [2:120]
[3:180] -A PREROUTING -p udp -m udp --dport 53 -j CT --notrack
COMMIT
*filter
:INPUT DROP [100:10000]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [7:700]
:in-v6 - [0:0]
[1:40] -A INPUT -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
[2:80] -A INPUT -i eth0 -m comment --comment "a b" -j in-v6
[3:120] -A in-v6 -m hashlimit --hashlimit-above 5/min --hashlimit-mode srcip --hashlimit-name v6 -j DROP
[4:160] -A in-v6 -m recent --set --name six --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource
[5:200] -A in-v6 -m quota --quota 99 -m limit --limit 1/sec -j REJECT --reject-with icmp6-adm-prohibited
COMMIT
"""

FAMILIES: list[Any] = [
    pytest.param(4, "ip", RULES_V4, id="ipv4"),
    pytest.param(6, "ip6", RULES_V6, id="ipv6"),
]


def test_layouts_are_those_of_the_headers() -> None:
    """offsetof and sizeof of struct ipt_entry and ip6t_entry as gcc gives them on a 64-bit machine."""
    if struct.calcsize("@P") != 8:
        pytest.skip("numbers of 64-bit machines")
    v4, v6 = sockopt.layout_of(4), sockopt.layout_of(6)
    assert (v4.size, v4.target_offset_at, v4.counters_at) == (112, 88, 96)
    assert (v6.size, v6.target_offset_at, v6.counters_at) == (168, 140, 152)


def test_nothing_is_created_by_looking(netns: Netns) -> None:
    with netns.entered():
        for family in (4, 6):
            assert sockopt.table_names(family) == []
            assert not sockopt.exists(family, "filter")
            with pytest.raises(sockopt.TableNotLoaded, match="not loaded"):
                sockopt.read_table(family, "filter")
            with pytest.raises(sockopt.TableNotLoaded):
                sockopt.table_info(family, "filter")
            assert sockopt.table_names(family) == []


def test_create_on_request(netns: Netns) -> None:
    netns.need("iptables-legacy-save")
    with netns.entered():
        image = sockopt.read_table(4, "filter", create=True)
        assert sockopt.table_names(4) == ["filter"]
        assert (image.num_entries, image.hooks()) == (4, (1, 2, 3))
        assert sockopt.is_blank(4, "filter")
        sockopt.write_table(sockopt.blank_image(4, "filter"))
        again = sockopt.read_table(4, "filter")
        assert bytes(again.blob) == bytes(image.blob)
        assert (again.hook_entry, again.underflow) == (image.hook_entry, image.underflow)
        with pytest.raises(sockopt.TableError, match="no such table"):
            sockopt.read_table(4, "nosuch", create=True)
        with pytest.raises(sockopt.TableError, match="cannot be a table's name"):
            sockopt.read_table(4, "x" * 32, create=True)


@pytest.mark.parametrize(("family", "prefix", "rules"), FAMILIES)
def test_undo_is_exact(netns: Netns, family: Family, prefix: str, rules: str) -> None:
    netns.need(f"{prefix}tables-legacy-restore")
    netns.run(f"{prefix}tables-legacy-restore", "-c", text=rules)
    saved = netns.save(f"{prefix}tables-legacy-save", "-c")
    names = {line[1:] for line in rules.splitlines() if line.startswith("*")}
    with netns.entered():
        assert set(sockopt.table_names(family)) == names
        images = [sockopt.read_table(family, name) for name in sockopt.table_names(family)]
        for name in names:
            netns.run(f"{prefix}tables-legacy", "-t", name, "-F")
            netns.run(f"{prefix}tables-legacy", "-t", name, "-X")
            sockopt.write_table(sockopt.blank_image(family, name))
            assert sockopt.is_blank(family, name)
        assert netns.save(f"{prefix}tables-legacy-save", "-c") != saved
        for image in images:
            sockopt.write_table(image)
        assert netns.save(f"{prefix}tables-legacy-save", "-c") == saved
        # Over a table that is not empty, and a second time from the same image.
        for image in images:
            sockopt.write_table(image)
            again = sockopt.read_table(family, image.name)
            assert again.hook_entry == image.hook_entry
            assert again.underflow == image.underflow
            assert bytes(again.blob) == bytes(image.blob)
    assert netns.save(f"{prefix}tables-legacy-save", "-c") == saved


def test_counters_on_request(netns: Netns) -> None:
    netns.need("iptables-legacy-restore")
    netns.run("iptables-legacy-restore", "-c", text=RULES_V4)
    with netns.entered():
        image = sockopt.read_table(4, "mangle")
        wanted = sockopt.counters_of(image)
        assert struct.unpack_from("@QQ", wanted) == (10, 1000)
        assert sockopt.write_table(image, counters=False) == wanted
        zero = sockopt.read_table(4, "mangle")
        assert not any(sockopt.counters_of(zero))
        other = bytearray(wanted)
        struct.pack_into("@QQ", other, 0, 77, 88)
        assert not any(sockopt.write_table(zero, counters=other))
        assert sockopt.counters_of(sockopt.read_table(4, "mangle")) == other
        with pytest.raises(ValueError, match="one pair"):
            sockopt.write_table(image, counters=b"\0" * 16)


@pytest.mark.parametrize(("family", "prefix", "rules"), FAMILIES)
def test_entries_can_be_taken_apart(netns: Netns, family: Family, prefix: str, rules: str) -> None:
    netns.need(f"{prefix}tables-legacy-restore")
    netns.run(f"{prefix}tables-legacy-restore", "-c", text=rules)
    with netns.entered():
        image = sockopt.read_table(family, "filter")
    layout = image.layout
    listed = dict(sockopt.entries(image))
    assert len(listed) == image.num_entries
    assert sum(map(len, listed.values())) == len(image.blob)
    starts = sockopt.chain_starts(image)
    user = [line[1:].split()[0] for line in rules.split("*filter")[1].splitlines() if " - [" in line]
    assert list(starts) == ["INPUT", "FORWARD", "OUTPUT", *user]
    policy = listed[image.underflow[1]]
    assert layout.standard_verdict(policy) == sockopt.VERDICTS["DROP"]
    assert layout.counters(policy) == (100, 10000)
    jumps = {layout.standard_verdict(entry) for entry in listed.values()} - {None}
    assert {starts[name] for name in user} <= jumps
    last = listed[max(listed)]
    assert (layout.target_name(last), layout.chain_name(last)) == ("ERROR", "ERROR")
    names = [layout.target_name(entry) for entry in listed.values()]
    assert "REJECT" in names
    comments = [bytes(entry[layout.size : layout.target_offset(entry)]) for entry in listed.values()]
    assert any(b"comment\0" in matches for matches in comments)


def test_a_broken_block_is_refused(netns: Netns) -> None:
    netns.need("iptables-legacy-restore")
    netns.run("iptables-legacy-restore", "-c", text=RULES_V4)
    with netns.entered():
        image = sockopt.read_table(4, "filter")
        image.blob[image.layout.target_offset_at + 2 : image.layout.target_offset_at + 4] = b"\0\0"
        with pytest.raises(sockopt.TableError, match="malformed entry at offset 0"):
            sockopt.write_table(image)
        with pytest.raises(sockopt.TableError, match="cannot replace table filter: Invalid argument"):
            sockopt.write_table(image, counters=False)


def test_policies_and_chains_make_a_table_not_blank(netns: Netns) -> None:
    netns.need("iptables-legacy-restore")
    with netns.entered():
        for change in (":INPUT DROP [0:0]", ":user - [0:0]", "-A INPUT"):
            netns.run("iptables-legacy-restore", text=f"*filter\n{change}\nCOMMIT\n")
            assert not sockopt.is_blank(4, "filter"), change
            sockopt.write_table(sockopt.blank_image(4, "filter"))
            assert sockopt.is_blank(4, "filter")
