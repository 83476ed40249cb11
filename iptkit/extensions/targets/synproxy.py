"""Answer SYNs for the server until the client is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Given, Option, Place, Target
from iptkit.extensions.tcp_options import option_length
from iptkit.extensions.world import DROP, STOLEN, Unknown
from iptkit.values.checksum import checksum, pseudo_sum
from iptkit.values.context import Context
from iptkit.values.packet import ACK, CWR, ECE, FIN, RST, SYN, TCP

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.packet import Packet


def _options(data: bytearray, at: int) -> dict[int, bytes]:
    """What the options of a TCP header hold, by kind."""
    end = at + (data[at + 12] >> 4) * 4
    place = at + 20
    found = {}
    while place < end and data[place]:
        size = option_length(data, place)
        if data[place] > 1:
            found[data[place]] = bytes(data[place + 2 : place + size])
        place += size
    return found


class Synproxy(Target, name="SYNPROXY"):
    """Do the TCP handshake with the client first, by SYN cookies, and only then with the server.

    For SYNs that connection tracking is kept from (`-j CT --notrack` in raw,
    nf_conntrack_tcp_loose off) and the ACKs that answer them, INVALID to it.
    The options given are those the server would agree to, since the proxy
    answers in its place; what it announces wrongly slows the connection down.
    """

    revision = 0
    protocols = (6,)
    where = Place(hooks=("INPUT", "FORWARD"))
    sack_perm = Flag("--sack-perm", doc="the server does selective acknowledgements")
    timestamp = Flag("--timestamp", doc="the server does timestamps; needed for all of the options")
    wscale = Option("--wscale", type=UInt(), doc="window scale of the server; the low 8 bits count")
    mss = Option("--mss", type=UInt(), doc="maximum segment size of the server; the low 16 bits count")
    ecn = Flag("--ecn", doc="the server does ECN")
    # struct nf_synproxy_info, linux/netfilter/nf_SYNPROXY.h
    layout = Layout(
        Bits("B", given={1: "mss", 2: "wscale", 4: "sack_perm", 8: "timestamp", 16: "ecn"}),
        Number("wscale", "B", always=True),
        Number("mss", "H", always=True),
    )
    decides = True
    example = (
        "-p tcp -m tcp --dport 443 -m conntrack --ctstate INVALID,UNTRACKED"
        " -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460"
    )

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        out = dict(given)
        for field, mask in (("wscale", 0xFF), ("mss", 0xFFFF)):
            if field in out:
                out[field] = Given(out[field].value & mask, False)
        return out

    def act(self, packet: Packet, world: World) -> str | None:
        # synproxy_tg4 and synproxy_tg6, net/netfilter/nf_synproxy_core.c
        flags = packet.tcp_flags
        at = packet.l4
        if flags < 0 or len(packet.data) < at + (packet.data[at + 12] >> 4) * 4:
            return DROP
        asked = flags & (SYN | ACK | FIN | RST)
        if asked == SYN:
            world.send(self._greeting(packet, world))
            return STOLEN
        if asked == ACK:
            raise Unknown("whether an ACK to the SYN proxy has its cookie")
        return None

    def _greeting(self, packet: Packet, world: World) -> Packet:
        """The SYN/ACK that the client gets, its sequence number a cookie."""
        data, at = packet.data, packet.l4
        found = _options(data, at)
        ecn = bool(self.ecn) and packet.tcp_flags & (ECE | CWR) == ECE | CWR
        options = b""
        if 2 in found and self.mss is not None:
            options += b"\x02\x04" + (self.mss or 0).to_bytes(2, "big")
        if self.timestamp and 8 in found:
            sack = bool(self.sack_perm) and 4 in found
            scaled = self.wscale is not None and 3 in found
            stamp = int(world.now * 1000) & 0xFFFFFFC0
            stamp |= (found[3][0] & 15 if scaled else 15) | sack << 4 | ecn << 5
            options += (
                (b"\x04\x02" if sack else b"\x01\x01") + b"\x08\x0a" + stamp.to_bytes(4, "big") + found[8][:4]
            )
            if scaled:
                options += bytes((1, 3, 3, self.wscale or 0))
        else:
            ecn = False
        cookie = world.choose("the SYN proxy's cookie", range(1 << 32))
        acknowledged = int.from_bytes(data[at + 4 : at + 8], "big") + 1 & 0xFFFFFFFF
        segment = (
            bytes(data[at + 2 : at + 4])
            + bytes(data[at : at + 2])
            + cookie.to_bytes(4, "big")
            + acknowledged.to_bytes(4, "big")
            + bytes(((5 + len(options) // 4) << 4, SYN | ACK | (ECE if ecn else 0), 0, 0, 0, 0, 0, 0))
            + options
        )
        size = 4 if packet.family == 4 else 16
        src, dst = packet.dst.to_bytes(size, "big"), packet.src.to_bytes(size, "big")
        total = checksum(segment, pseudo_sum(src, dst, TCP, len(segment)))
        segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
        if packet.family == 4:
            header = (
                bytes((0x45, 0))
                + (20 + len(segment)).to_bytes(2, "big")
                + bytes((0, 0, 0x40, 0, 64, TCP, 0, 0))
            )
            header += src + dst
            header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
        else:
            header = bytes((0x60, 0, 0, 0)) + len(segment).to_bytes(2, "big") + bytes((TCP, 64)) + src + dst
        answer = type(packet)(header + segment)
        answer.generated = True
        answer.connection, answer.ctinfo = packet.connection, packet.ctinfo
        return answer


EXTENSIONS: tuple[Any, ...] = (Synproxy,)
