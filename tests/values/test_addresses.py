"""Addresses, against what iptables 1.8.9 (glibc 2.36) answered for `-s` and for the extensions' addresses."""

from __future__ import annotations

import ipaddress
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.values import addresses as adr

# What `-s` was given and what the save printed; the nets of a list with " | " between.
TAKEN4 = {
    "10.0.0.1": "10.0.0.1/32",
    "10.1.2.3/8": "10.0.0.0/8",
    "10.1.2.3/255.255.0.255": "10.1.0.3/255.255.0.255",
    "10.1.2.3/0.0.0.255": "0.0.0.3/0.0.0.255",
    "0": "0.0.0.0/32",
    "10": "10.0.0.0/32",
    "10/8": "10.0.0.0/8",
    "10.1": "10.1.0.0/32",
    "192.168.1/24": "192.168.1.0/24",
    "169.254": "169.254.0.0/32",
    "256": "0.0.1.0/32",
    "65536": "0.1.0.0/32",
    "10.256": "10.0.1.0/32",
    "1.65536": "1.1.0.0/32",
    "1.2.65535": "1.2.255.255/32",
    "0x0a000001": "10.0.0.1/32",
    "037777777777": "255.255.255.255/32",
    "4294967295": "255.255.255.255/32",
    "0xa.1": "10.1.0.0/32",
    "1.2.0x3": "1.2.3.0/32",
    "1.2.3.010": "1.2.3.8/32",
    "01.02.03.04": "1.2.3.4/32",
    "0001.0002.0003.0004": "1.2.3.4/32",
    "00001.00002.00003.00004": "1.2.3.0/32",
    "1.2.3.0000000000000004": "1.2.3.0/32",
    "00000000000000000000000010": "0.0.0.0/32",
    "+10.1.2.3": "10.1.2.3/32",
    "10. 1.2.3": "10.1.2.3/32",
    " 10.1.2.3": "10.1.2.3/32",
    "\t10.1.2.3": "10.1.2.3/32",
    " " * 300 + "1.2.3.4": "1.2.3.4/32",
    "1.2.3.4/024": "1.2.0.0/20",
    "1.2.3.4/0x18": "1.2.3.0/24",
    "1.2.3.4/032": "1.2.3.0/26",
    "1.2.3.4/040": "1.2.3.4/32",
    "1.2.3.4/ 24": "1.2.3.0/24",
    "1.2.3.4/+24": "1.2.3.0/24",
    "1.2.3.4/ 255.255.255.0": "1.2.3.0/24",
    "1.2.3.4/255. 255.0.0": "1.2.0.0/16",
    "1.2.3.4/0xff.0xff.0.0": "1.2.0.0/16",
    "1.2.3.4/0377.0377.0.0": "1.2.0.0/16",
    "1.2.3.4/255.255.255.000000000000000000255": "1.2.3.0/24",
    "1.2.3.4/" + "0" * 244 + "24": "1.2.0.0/20",
    "::ffff:1.2.3.4": "1.2.3.4/32",
    "::FFFF:102:304": "1.2.3.4/32",
    "0:0:0:0:0:ffff:1.2.3.4": "1.2.3.4/32",
    "::ffff:1.2.3.4/24": "1.2.3.0/24",
    "::ffff:1.2.3.4%1": "1.2.3.4/32",
    "1.2.3.4/0": "0.0.0.0/0",
    "1.2.3.4/00": "0.0.0.0/0",
    "1.2.3.4/0x0": "0.0.0.0/0",
    "any/0": "0.0.0.0/0",
    "x y z/0": "0.0.0.0/0",
    "::1/0": "0.0.0.0/0",
    "1/2/0": "0.0.0.0/0",
    "/0": "0.0.0.0/0",
    "/0.0.0.0": "0.0.0.0/0",
    "0,0": "0.0.0.0/32 | 0.0.0.0/32",
    "10.0.0.1, 10.0.0.2": "10.0.0.1/32 | 10.0.0.2/32",
    "10.0.0.1/24,10.0.0.2/24": "10.0.0.0/24 | 10.0.0.0/24",
}

# fmt: off
REFUSED4 = [
    "", ",", "1.2.3.4,", ",1.2.3.4", "1.2.3.4, ", "1.2.3.4,,1.2.3.5", "1.2.3.4 ,1.2.3.5", "1.2.3.4 ",
    "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/041", "1.2.3.4/-1", "1.2.3.4/-0", "1.2.3.4/24x", "1.2.3.4/08",
    "1.2.3.4/255", "1.2.3.4/255.255", "1.2.3.4/256.0.0.0", "1.2.3.4/0xffff0000", "1.2.3.4/24 ",
    "1.2.3.4/255.255.255.0 ", "1.2.3.4/24/24", "1.2.3.4//24", "/24", "1.2.3.4 /24", "1.2.3.4/abc",
    "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256", "1.2.65536", "1.2.3.0400", "1.2.3.08", "08",
    "08.1", "10 .1.2.3", "-1.2.3.4", "4294967296", "0x1ffffffff", "1.2.3.4000000000000000", "1.2.3.4\xa0",
    "::1", "2001:db8::/32", "::1.2.3.4", "::ffff:1.2.3.4%lo", "1.2.3.4%1", "-s10.0.0.1", "--source=10.0.0.1",
    '"', "a" * 256, "a" * 256 + "/0", "1.2.3.4/" + "0" * 250 + "24", "1.2.3.4-1.2.3.9", "10.0.0.*", "\0",
]
# fmt: on

TAKEN6 = {
    "::": "::/128",
    "::1": "::1/128",
    " ::1": "::1/128",
    "::2": "::2/128",
    "::ffff": "::ffff/128",
    "::1:0": "::0.1.0.0/128",
    "::1:2": "::0.1.0.2/128",
    "::ffff:1": "::255.255.0.1/128",
    "::ffff:0:0": "::ffff:0.0.0.0/128",
    "::ffff:10.0.0.1": "::ffff:10.0.0.1/128",
    "::10.0.0.1": "::10.0.0.1/128",
    "::0.0.1.1": "::101/128",
    "::fffe:1.2.3.4": "::fffe:102:304/128",
    "::1:ffff:1.2.3.4": "::1:ffff:102:304/128",
    "64:ff9b::192.0.2.1": "64:ff9b::c000:201/128",
    "1::": "1::/128",
    "0:1::": "0:1::/128",
    "1:0:0:2::": "1:0:0:2::/128",
    "1:0:0:2:0:0:3:4": "1::2:0:0:3:4/128",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1/128",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0/128",
    "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8/128",
    "FE80::A": "fe80::a/128",
    "fe80::1%1": "fe80::1/128",
    "fe80::1%01": "fe80::1/128",
    "fe80::1%1/64": "fe80::/64",
    "2001:db8::1%4294967295": "2001:db8::1/128",
    "::ffff:1.2.3.4%1": "::ffff:1.2.3.4/128",
    "2001:db8::1/064": "2001:db8::/52",
    "::1/ 64": "::/64",
    "::1/+64": "::/64",
    "::1/0x40": "::/64",
    "2001:db8::1/ffff:ffff:ffff:ffff::": "2001:db8::/64",
    "2001:db8::1/ffff:0:ffff::": "2001::/ffff:0:ffff::",
    "2001:db8::1/::ffff": "::1/::ffff",
    "::1/::ffff:255.255.0.0": "::/::ffff:255.255.0.0",
    "::1/ffff::1:2": "::/ffff::1:2",
    "::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe": "::/127",
    "8000::/1": "8000::/1",
    "::1/0": "::/0",
    "::1/00": "::/0",
    "::1/::": "::/0",
    "0/0": "::/0",
    "foo/0": "::/0",
    "1.2.3.4/0": "::/0",
    "/::": "::/0",
    "::1, ::2": "::1/128 | ::2/128",
}

# fmt: off
REFUSED6 = [
    "", ",", "::1,", "::1 ", "::1/", "::1/129", "::1/64 ", "::1/ ::", "::1/64/64", "::1/255.255.255.0",
    ":", ":1", "1:", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "2001:db8:::1", "g::1",
    "12345::1", "::00001", "[::1]", "::1.2.3", "::1.2.3.04", "::1.2.3.256", "1:2:3:4:5:6:7:1.2.3.4",
    "fe80::1%", "2001:db8::1%lo", "::1%lo", "2001:db8::1%4294967296",
    "10", "0", "0x0a", "1.2.3.4", "1.2.3.4/8", "a" * 256, "a" * 256 + "/0", "\0",
]
# fmt: on

NAMES = ["localhost", "LOCALHOST", "default", "server.example.net", "a_b.c", "x.", "3com.example", "cafe"]


def shown4(text: str) -> str:
    return " | ".join(adr.show_network4(*network) for network in adr.parse_networks4(text))


def shown6(text: str) -> str:
    return " | ".join(adr.show_network6(*network) for network in adr.parse_networks6(text))


@pytest.mark.parametrize(("text", "saved"), TAKEN4.items())
def test_taken4(text: str, saved: str) -> None:
    assert shown4(text) == saved


@pytest.mark.parametrize(("text", "saved"), TAKEN6.items())
def test_taken6(text: str, saved: str) -> None:
    assert shown6(text) == saved


@pytest.mark.parametrize("text", REFUSED4)
def test_refused4(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|takes at most") as caught:
        adr.parse_networks4(text)
    assert not isinstance(caught.value, adr.HostName)


@pytest.mark.parametrize("text", REFUSED6)
def test_refused6(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|takes at most") as caught:
        adr.parse_networks6(text)
    assert not isinstance(caught.value, adr.HostName)


@pytest.mark.parametrize("text", NAMES)
def test_host_names(text: str) -> None:
    for parse in (adr.parse_networks4, adr.parse_networks6, adr.parse_host4, adr.parse_host6):
        with pytest.raises(adr.HostName) as caught:
            parse(text)
        assert caught.value.name == text
        assert pickle.loads(pickle.dumps(caught.value)).name == text  # noqa: S301 -- our own pickle


def test_interface_zone_is_for_the_machine_to_know() -> None:
    for text in ("fe80::1%eth0", "fe80::1%+1", "ff02::1%eth0"):
        with pytest.raises(adr.HostName):
            adr.parse_networks6(text)


def test_a_bad_item_outweighs_a_name() -> None:
    with pytest.raises(ValueError, match="must be an IPv4 address") as caught:
        adr.parse_networks4("localhost,1.2.3.256")
    assert not isinstance(caught.value, adr.HostName)


def test_resolved_names() -> None:
    known = {"gw": (0x0A000001, 0x0A000101)}
    assert adr.parse_networks4("gw/24,1.2.3.4", known.get) == (
        (0x0A000000, 0xFFFFFF00),
        (0x0A000100, 0xFFFFFF00),
        (0x01020304, 0xFFFFFFFF),
    )
    assert adr.parse_networks6("gw", {"gw": (1,)}.get) == ((1, adr.MASK6_ALL),)
    with pytest.raises(adr.HostName, match="other"):
        adr.parse_networks4("gw,other", known.get)


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("10.0.0.5/24", True),
        ("10.0.0.0/24", False),
        ("10.0.0.0/24, 10.0.1.1/24", True),
        ("10.0.0.5", False),
        ("10.1.2.3/0", True),
        ("0/0", False),
        ("any/0", False),
        ("localhost/8", False),
        ("10.1.2.3/255.255.0.255", True),
    ],
)
def test_host_bits4(text: str, dropped: bool) -> None:
    assert adr.host_bits4(text) is dropped


@pytest.mark.parametrize(
    ("text", "dropped"),
    [("2001:db8::5/64", True), ("2001:db8::/64", False), ("::1", False), ("::1/0", True), ("0/0", False)],
)
def test_host_bits6(text: str, dropped: bool) -> None:
    assert adr.host_bits6(text) is dropped


# `-j TEE --gateway` and `-m conntrack --ctorigsrc`, `-m iprange --src-range`, `-j DNAT --to-destination`.
SINGLE4 = [
    ("10.1.2.3", "10.1.2.3", "10.1.2.3", "10.1.2.3"),
    ("10.1", "10.0.0.1", "10.1.0.0", None),
    ("10", "0.0.0.10", "10.0.0.0", None),
    ("256", "0.0.1.0", None, None),
    ("0x0a000001", "10.0.0.1", None, None),
    ("10.1.2.03", "10.1.2.3", "10.1.2.3", None),
    ("10.1.2.3 ", None, None, None),
    (" 10.1.2.3", None, "10.1.2.3", None),
    ("+10.1.2.3", None, "10.1.2.3", None),
    ("::ffff:1.2.3.4", "1.2.3.4", None, None),
    ("::ffff:1.2.3.4%1", "1.2.3.4", None, None),
    ("0", "0.0.0.0", "0.0.0.0", None),  # noqa: S104 -- nothing is bound
    ("", None, None, None),
    ("10.1.2.256", None, None, None),
    ("1.2.3.00000000000000004", "1.2.3.4", "1.2.3.0", None),
]


@pytest.mark.parametrize(("text", "host", "lax", "strict"), SINGLE4)
def test_single4(text: str, host: str | None, lax: str | None, strict: str | None) -> None:
    cases = ((adr.parse_host4, host), (adr.parse_address4_lax, lax), (adr.parse_address4, strict))
    for parse, expected in cases:
        if expected is None:
            with pytest.raises(ValueError, match="must be an IPv4 address"):
                parse(text)
        else:
            assert adr.show_address4(parse(text)) == expected


def test_single6() -> None:
    assert adr.parse_address6("2001:DB8::1") == 0x20010DB8 << 96 | 1
    assert adr.parse_host6("fe80::1%1") == 0xFE80 << 112 | 1
    for text in ("::1 ", "fe80::1%1", "10.1", "[::1]"):
        with pytest.raises(ValueError, match="must be an IPv6 address"):
            adr.parse_address6(text)


ADDRESS4 = st.integers(0, adr.MASK4_ALL)
# Plain integers almost never have the runs of zeros that the printed form turns on.
ADDRESS6 = st.integers(0, adr.MASK6_ALL) | st.lists(
    st.sampled_from([0, 0, 0, 1, 0xFFFF, 0x1234]), min_size=8, max_size=8
).map(lambda words: int.from_bytes(b"".join(word.to_bytes(2, "big") for word in words), "big"))


@given(ADDRESS4, ADDRESS4 | st.integers(0, 32).map(lambda bits: adr.parse_mask4(str(bits))))
def test_round_trip4(address: int, mask: int) -> None:
    assert adr.parse_networks4(adr.show_network4(address & mask, mask)) == ((address & mask, mask),)


@given(ADDRESS6, ADDRESS6 | st.integers(0, 128).map(lambda bits: adr.parse_mask6(str(bits))))
def test_round_trip6(address: int, mask: int) -> None:
    assert adr.parse_networks6(adr.show_network6(address & mask, mask)) == ((address & mask, mask),)


@given(ADDRESS4)
def test_same_as_ipaddress4(address: int) -> None:
    text = adr.show_address4(address)
    assert text == str(ipaddress.IPv4Address(address))
    assert adr.parse_address4(text) == adr.parse_address4_lax(text) == adr.parse_host4(text) == address


@given(ADDRESS6)
def test_same_as_ipaddress6(address: int) -> None:
    text = adr.show_address6(address)
    assert int(ipaddress.IPv6Address(text)) == address
    assert adr.parse_address6(text) == adr.parse_host6(text) == address


@given(st.text(st.characters(max_codepoint=0xFF)) | st.text("0123456789abcdefx:./,%+ ", max_size=24))
def test_any_text_gives_networks_or_valueerror(text: str) -> None:
    for parse, everything in ((adr.parse_networks4, adr.MASK4_ALL), (adr.parse_networks6, adr.MASK6_ALL)):
        try:
            networks = parse(text)
        except ValueError:
            continue
        assert len(networks) == text.count(",") + 1
        for address, mask in networks:
            assert 0 <= mask <= everything
            assert address & mask == address
