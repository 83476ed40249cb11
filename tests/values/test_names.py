"""Names of protocols and services, against iptables 1.8.9 with the tables of Debian 12."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.values.faults import BadValue
from iptkit.values.names import (
    parse_protocol,
    protocol_name,
    protocol_number,
    resolved_service_port,
    service_port,
)

# What `-A OUTPUT -p NUMBER` saved as, where that was no number. 0 saves as nothing.
# fmt: off
NAMES = {
    1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp",
    20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp",
    41: "ipv6", 43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah",
    57: "skip", 58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp",
    89: "ospf", 93: "ax.25", 94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp",
    115: "l2tp", 124: "isis", 132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite",
    137: "mpls-in-ip", 138: "manet", 139: "hip", 140: "shim6", 141: "wesp", 142: "rohc", 143: "ethernet",
}
# fmt: on


@pytest.mark.parametrize("number", range(1, 256))
def test_printed_names(number: int) -> None:
    assert protocol_name(number) == NAMES.get(number, str(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TCP", 6),
        ("Tcp", 6),
        ("6", 6),
        (" 6", 6),
        ("+6", 6),
        ("06", 6),
        ("0x6", 6),
        ("0X06", 6),
        ("255", 255),
        ("0", 0),
        ("00", 0),
        ("all", 0),
        ("ALL", 0),
        ("ip", 0),
        ("IP", 0),
        ("hopopt", 0),
        ("icmpv6", 58),
        ("ICMPv6", 58),
        ("IPv6-ICMP", 58),
        ("mh", 135),
        ("ipv6-mh", 135),
        ("mobility-header", 135),
        ("mptcp", 262),
        ("MPTCP", 262),
        ("manet", 138),
    ],
)
def test_taken(text: str, number: int) -> None:
    assert protocol_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bogus",
        "ipv4",
        "256",
        "262",
        "0x100",
        "-1",
        "-0",
        "tcp,udp",
        " tcp",
        "tcp ",
        "6 ",
        "08",
        "IPSEC-ESP",
        "ipsec-esp",
        "OSPFIGP",
        "ospfigp",
        "IP-ENCAP",
        "cphb",
        "\xc9",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a protocol name or a number from 0 to 255"):
        protocol_number(text)


@pytest.mark.parametrize(("text", "hint"), [("tpc", "tcp"), ("ipsec-esp", "esp"), ("icmp6", "icmpv6")])
def test_hint(text: str, hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        protocol_number(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "number"), [("esp", 50), ("IPSEC-ESP", 50), ("CPHB", 73), ("IP", 0), ("50", 50)]
)
def test_case_kept(text: str, number: int) -> None:
    assert parse_protocol(text) == number


@pytest.mark.parametrize(("text", "hint"), [("ESP", "esp"), ("ALL", None), ("ipsec-esp", "esp")])
def test_case_matters(text: str, hint: str | None) -> None:
    with pytest.raises(BadValue) as caught:
        parse_protocol(text)
    assert hint is None or hint in caught.value.hint


@given(st.integers(0, 255))
def test_protocol_round_trip(number: int) -> None:
    assert protocol_number(protocol_name(number)) == number


@pytest.mark.parametrize(
    ("name", "protocol", "port"),
    [
        ("ssh", "tcp", 22),
        ("http", "tcp", 80),
        ("www", "tcp", 80),
        ("kerberos5", "tcp", 88),
        ("ntp", "udp", 123),
        ("syslog", "udp", 514),
        ("syslog", "tcp", 514),
        ("dicom", "tcp", 104),
        ("amqp", "sctp", 5672),
        ("echo", "tcp", 7),
        ("echo", None, 7),
        ("rtmp", None, 1),
    ],
)
def test_service(name: str, protocol: str | None, port: int) -> None:
    assert service_port(name, protocol) == port


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("ntp", "tcp"),
        ("ssh", "udp"),
        ("HTTP", "tcp"),
        ("http", "udplite"),
        ("who", "tcp"),
        ("", "tcp"),
        ("", None),
        ("rtmp", "tcp"),
        ("http ", "tcp"),
    ],
)
def test_no_such_service(name: str, protocol: str | None) -> None:
    with pytest.raises(ValueError, match="must be a port from 0 to 65535 or the name of a "):
        service_port(name, protocol)


def test_service_hints() -> None:
    with pytest.raises(BadValue) as caught:
        service_port("ntp", "tcp")
    assert caught.value.hint == "only udp has that name, for port 123"
    with pytest.raises(BadValue) as caught:
        service_port("htps", "tcp")
    assert caught.value.hint == 'did you mean "https"?'


def test_resolved_service() -> None:
    assert resolved_service_port("ssh") == 22
    assert resolved_service_port("ntp") == 123
    with pytest.raises(ValueError, match="rtmp"):
        resolved_service_port("rtmp")
