"""Ports, against what iptables 1.8.9 answered for `--dport` of tcp, udp, sctp, dccp and `-m multiport`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iptkit.values.ports import parse_port, parse_port_range_tcp, parse_port_range_udp, show_port_range

# What was written, then what the save printed with tcp and with udp ("0:65535" where it printed nothing).
BOTH = [
    ("80", "80", "80"),
    ("0x50", "80", None),
    ("0120", "80", "120"),
    (" 80", "80", "80"),
    ("\t80", "80", "80"),
    ("\v80", "80", "80"),
    ("80 ", None, None),
    ("+80", "80", "80"),
    ("+ 80", None, None),
    ("", None, "0"),
    (" ", None, None),
    ("+", None, None),
    ("-", None, None),
    ("0 0", None, None),
    ("-1", None, None),
    ("-2", None, None),
    ("-0", None, "0"),
    ("-80", None, None),
    ("65535", "65535", "65535"),
    ("65536", None, "0"),
    ("65616", None, "80"),
    ("4294967376", None, "80"),
    ("2147483647", None, "65535"),
    ("2147483648", None, None),
    ("4294967295", None, None),
    ("4294967296", None, "0"),
    ("-4294967216", None, "80"),
    ("-4294967295", None, "1"),
    ("18446744073709551615", None, None),
    ("18446744073709551616", None, None),
    ("18446744073709551632", None, None),
    ("99999999999999999999999", None, None),
    ("-18446744073709551536", None, "80"),
    ("ntp", None, "123"),
    ("ssh", "22", "22"),
    ("syslog", "514", "514"),
    ("who", None, "513"),
    ("dicom", "104", "104"),
    ("echo", "7", "7"),
    ("rtmp", None, None),
    ("nbp", None, None),
    ("http ", None, None),
    (" http", None, None),
    ("HTTP", None, None),
    ("www", "80", "80"),
    ("sink", "9", "9"),
    ("zephyr-clt", None, "2103"),
    ("08", None, "8"),
    ("80:", "80:65535", "80:65535"),
    (":80", "0:80", "0:80"),
    (":", "0:65535", "0:65535"),
    ("::", None, None),
    ("80:90:", None, None),
    ("22:80:90", None, None),
    ("60:53", None, "60:53"),
    ("0:0", "0", "0"),
    (" 80:90", "80:90", "80:90"),
    ("80: 90", "80:90", "80:90"),
    ("80 :90", None, None),
    ("22:ssh", "22", "22"),
    ("ssh:http", "22:80", "22:80"),
    (":ssh", "0:22", "0:22"),
    ("ssh:", "22:65535", "22:65535"),
    ("a:", None, None),
    ("*", None, None),
    ("80,90", None, None),
    ("22-80", None, None),
    ("80x", None, None),
]


@pytest.mark.parametrize(("text", "tcp", "udp"), BOTH)
def test_ranges(text: str, tcp: str | None, udp: str | None) -> None:
    for parse, saved in ((parse_port_range_tcp, tcp), (parse_port_range_udp, udp)):
        if saved is None:
            with pytest.raises(ValueError, match=r"^(must be|range) "):
                parse(text)
        else:
            assert show_port_range(*parse(text)) == saved


@pytest.mark.parametrize(
    ("text", "port"), [("80", 80), ("0x50", 80), ("0120", 80), (" 80", 80), ("http", 80), ("0", 0)]
)
def test_single(text: str, port: int) -> None:
    assert parse_port(text, "tcp") == port


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("", "tcp"),
        ("65536", "tcp"),
        ("80:90", "tcp"),
        ("ntp", "tcp"),
        ("ssh", "udp"),
        ("ssh", "sctp"),
        ("ntp", "udplite"),
        ("http", "dccp"),
        ("9" * 900, "tcp"),
    ],
)
def test_single_refused(text: str, protocol: str) -> None:
    with pytest.raises(ValueError, match="must be a port from 0 to 65535"):
        parse_port(text, protocol)


def test_sctp() -> None:
    assert parse_port_range_tcp("amqp", "sctp") == (5672, 5672)
    with pytest.raises(ValueError, match="sctp service"):
        parse_port_range_tcp("http", "sctp")


PORTS = st.integers(0, 65535)


@given(PORTS, PORTS)
def test_round_trip(low: int, high: int) -> None:
    shown = show_port_range(low, high)
    assert parse_port_range_udp(shown) == (low, high)
    if low <= high:
        assert parse_port_range_tcp(shown) == (low, high)


@given(
    st.text(st.characters(max_codepoint=0xFF)) | st.from_regex(r"[ +-]?\d{1,22}(:\d{0,6})?", fullmatch=True)
)
def test_any_text_gives_ports_or_valueerror(text: str) -> None:
    for parse in (parse_port_range_tcp, parse_port_range_udp):
        try:
            low, high = parse(text)
        except ValueError:
            continue
        assert 0 <= low <= 65535
        assert 0 <= high <= 65535
