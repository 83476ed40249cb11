"""What helpers read in what is said."""

from __future__ import annotations

from ipaddress import IPv4Address

import hypothesis.strategies as st
import pytest
from hypothesis import given

from iptkit.conntrack.helpers import HELPERS, exists, ftp, reading, sip
from iptkit.conntrack.helpers.sip_messages import address4
from iptkit.conntrack.nat import Nat
from iptkit.conntrack.tracker import Tracker
from iptkit.extensions.world import ACCEPT, DROP, Template
from iptkit.values.packet import TCP, UDP, Packet

from .packets import CLIENT, SERVER, tcp, udp


class Talk:
    """One connection through a machine, with a helper."""

    def __init__(self, helper: str, port: int) -> None:
        self.tracker = Tracker()
        self.nat = Nat(self.tracker)
        self.helper, self.port = helper, port
        self.now = 100.0
        self.seq = [1000, 5000]

    def pass_(self, packet: Packet) -> str:
        self.now += 0.01
        if packet.connection is None:
            packet.connection = Template(helper=self.helper)
        if self.tracker.track(packet, "PREROUTING", self.now) != ACCEPT:
            return DROP
        if self.nat.help(packet, self.now) != ACCEPT:
            return DROP
        return self.tracker.confirm(packet, self.now)

    def say(self, text: bytes, *, back: bool = False, flags: str = "PA") -> str:
        seq, ack = self.seq[back], self.seq[not back]
        packet = tcp(flags, seq, ack, back=back, payload=text, dport=self.port)
        self.seq[back] += len(text) + ("S" in flags)
        return self.pass_(packet)

    def open(self) -> Talk:
        assert self.say(b"", flags="S") == ACCEPT
        assert self.say(b"", back=True, flags="SA") == ACCEPT
        assert self.say(b"", flags="A") == ACCEPT
        return self

    @property
    def expected(self) -> list[str]:
        return [line.split("proto=", 1)[1] for line in self.nat.expectations.lines(self.now)]


PORT_1025 = "6 src=10.0.2.2 dst=10.0.1.2 sport=0 dport=1025 ftp"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"PORT 10,0,1,2,4,1\r\n", PORT_1025),
        (b"port 10,0,1,2,4,1\r\n", PORT_1025),
        (b"EPRT |1|10.0.1.2|1025|\r\n", PORT_1025),
        (b"EPRT !1!10.0.1.2!1025!\r\n", PORT_1025),
        (b"PORT 10,0,1,9,4,1\r\n", ""),  # somebody else's
        (b"NOOP\r\n", ""),
        (b"PORT 10,0,1,2,4,1\n", None),  # it must end as a line does
        (b"PORT 10,0,1,2,4\r\n", None),
        (b"PO", None),
        (b"EPRT |2|::1|1025|\r\n", None),
    ],
)
def test_ftp_commands(line: bytes, expected: str | None) -> None:
    """None: the command is cut, and dropped."""
    talk = Talk("ftp", 21).open()
    assert talk.say(b"USER a\r\n") == ACCEPT
    assert talk.say(line) == (DROP if expected is None else ACCEPT)
    assert talk.expected == ([expected] if expected else [])


@pytest.mark.parametrize(
    "line",
    [
        b"227 Entering Passive Mode (10,0,2,2,4,1).\r\n",
        b"227 10,0,2,2,4,1\r\n",
        b"229 Entering Extended Passive Mode (|||1025|)\r\n",
    ],
)
def test_ftp_answers(line: bytes) -> None:
    talk = Talk("ftp", 21).open()
    assert talk.say(b"220 hi\r\n", back=True) == ACCEPT
    assert talk.say(line, back=True) == ACCEPT
    assert talk.expected == ["6 src=10.0.1.2 dst=10.0.2.2 sport=0 dport=1025 ftp"]


def test_ftp_listens_after_a_newline_only() -> None:
    talk = Talk("ftp", 21).open()
    assert talk.say(b"PORT 10,0,1,2,4,1\r\n") == ACCEPT
    assert talk.expected == []
    assert talk.say(b"NOO") == ACCEPT
    assert talk.say(b"PORT 10,0,1,2,4,1\r\n") == ACCEPT
    assert talk.expected == []


def test_ftp_remembers_two_ends() -> None:
    state = ftp.State()
    for seq in (10, 20, 15, 20, 30):
        state.ended(0, seq)
    assert sorted(state.ends[0]) == [20, 30]


@pytest.mark.parametrize(
    ("text", "port"),
    [
        (b"PRIVMSG bob :\1DCC SEND file 167772418 1025 99\1\n", 1025),
        (b"privmsg bob :\1DCC CHAT chat 167772418 1026\1\n", 1026),
        (b"NOTICE bob :\1DCC SEND file 167772418 1025 99\1\n", 0),
        (b"PRIVMSG bob :\1DCC SEND file 167772419 1025 99\1\n", 0),  # forged
        (b"PRIVMSG bob :\1DCC SEND file 167772418 1025 99\1", 0),
    ],
)
def test_irc_offers(text: bytes, port: int) -> None:
    talk = Talk("irc", 6667).open()
    assert talk.say(text) == ACCEPT
    assert talk.expected == ([f"6 src=0.0.0.0 dst=10.0.1.2 sport=0 dport={port} irc"] if port else [])


def test_amanda_streams() -> None:
    talk = Talk("amanda", 10080)
    assert talk.pass_(udp(800, 10080, b"REQ")) == ACCEPT
    answer = udp(10080, 800, b"REP\nCONNECT DATA 2000 MESG 2001 STATE 2002\n", src=SERVER, dst=CLIENT)
    assert talk.pass_(answer) == ACCEPT
    assert [line.split("dport=")[1] for line in talk.expected] == [
        "2000 amanda",
        "2001 amanda",
        "2002 amanda",
    ]
    assert answer.connection.remaining(talk.now) == 300


def test_sane_port() -> None:
    talk = Talk("sane", 6566).open()
    talk.say((7).to_bytes(4, "big") + bytes(4))
    talk.say(bytes(6) + (9000).to_bytes(2, "big"), back=True)
    assert talk.expected == ["6 src=10.0.1.2 dst=10.0.2.2 sport=0 dport=9000 sane"]


def test_broadcasts_of_the_machine() -> None:
    talk = Talk("netbios-ns", 137)
    talk.nat.broadcast_mask = lambda packet: 0xFFFFFF00
    packet = udp(137, 137, b"who", src="10.0.1.1", dst="10.0.1.255")
    packet.owner = object()
    assert talk.pass_(packet) == ACCEPT
    assert talk.expected == ["17 src=10.0.1.255 dst=10.0.1.1 sport=137 dport=137 PERMANENT netbios-ns"]
    for host in (7, 8):  # whoever is there
        answer = udp(137, 137, b"me", src=f"10.0.1.{host}", dst="10.0.1.1")
        assert talk.pass_(answer) == ACCEPT
        assert answer.connection.master is packet.connection


INVITE = (
    b"INVITE sip:bob@10.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.2:5060\r\nCSeq: 1 INVITE\r\n"
    b"Content-Length: 60\r\n\r\n"
    b"v=0\r\no=- 1 1 IN IP4 10.0.1.2\r\nc=IN IP4 10.0.1.2\r\nm=audio 7000 RTP/AVP 0\r\n"
)


def test_sip_media() -> None:
    talk = Talk("sip", 5060)
    packet = udp(5060, 5060, INVITE)
    assert talk.pass_(packet) == ACCEPT
    assert [line.split("dport=")[1] for line in talk.expected] == ["7000 sip/audio", "7001 sip/audio"]
    assert packet.connection.remaining(talk.now) == sip.TIMEOUT
    assert talk.pass_(udp(5060, 5060, b"BYE sip:bob@10.0.2.2 SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n")) == ACCEPT
    assert talk.expected == []


@given(st.binary(max_size=80), st.integers(0, len(INVITE)), st.integers(0, 30))
def test_sip_survives_anything(junk: bytes, at: int, length: int) -> None:
    """Whatever stands in a message: a verdict comes out."""
    talk = Talk("sip", 5060)
    text = INVITE[:at] + junk + INVITE[at + length :]
    assert talk.pass_(udp(5060, 5060, text)) in (ACCEPT, DROP)


@given(
    st.sampled_from(sorted(name for name in HELPERS if UDP in HELPERS[name].protocols)),
    st.binary(max_size=60),
    st.booleans(),
)
def test_datagrams_of_anything(name: str, junk: bytes, back: bool) -> None:
    talk = Talk(name, 5000)
    assert talk.pass_(udp(4000, 5000, junk)) in (ACCEPT, DROP)
    assert talk.pass_(udp(4000, 5000, junk, back=back)) in (ACCEPT, DROP)


@given(
    st.sampled_from(sorted(name for name in HELPERS if TCP in HELPERS[name].protocols)),
    st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=4),
)
def test_segments_of_anything(name: str, said: list[tuple[bytes, bool]]) -> None:
    talk = Talk(name, 5000).open()
    for text, back in said:
        assert talk.say(text + b"\n", back=back) in (ACCEPT, DROP)


def test_which_helpers_there_are() -> None:
    assert exists("ftp", TCP, 6)
    assert not exists("ftp", UDP, 4)
    assert not exists("irc", TCP, 6)
    assert not exists("h323", TCP, 4)


@given(st.integers(0, 0xFFFFFFFF), st.sampled_from((b"", b" ", b":5060", b";x", b"\r\n")))
def test_addresses(address: int, after: bytes) -> None:
    text = str(IPv4Address(address)).encode()
    assert address4(text + after, 0, len(text + after)) == (address, len(text))


@pytest.mark.parametrize(
    "text", [b"", b"1.2.3", b"1.2.3.4.", b"1.2.3.256", b"1..2.3", b"1.2.3.4a", b".1.2.3"]
)
def test_what_is_no_address(text: bytes) -> None:
    assert address4(text, 0, len(text)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "base", "value", "end"),
    [
        (b"12a", 10, 12, 2),
        (b"x", 10, 0, 0),
        (b"0x1fg", 0, 31, 4),
        (b"017", 0, 15, 3),
        (b"08", 0, 0, 1),
        (b"0x", 0, 0, 1),
    ],
)
def test_numbers(text: bytes, base: int, value: int, end: int) -> None:
    assert reading.number(text, 0, base) == (value, end)
