"""Packets for the tests of connection tracking, with right checksums."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from iptkit.values.checksum import checksum, crc32c, pseudo_sum
from iptkit.values.packet import Packet

CLIENT, SERVER = "10.0.1.2", "10.0.2.2"
FLAGS = "FSRPAUEC"


def ip(
    proto: int,
    body: bytes,
    src: str = CLIENT,
    dst: str = SERVER,
    *,
    ip_id: int = 1,
    offset: int = 0,
    more: bool = False,
    df: bool = False,
) -> Packet:
    source, destination = ip_address(src).packed, ip_address(dst).packed
    if len(source) == 16:
        return Packet(struct.pack("!IHBB", 6 << 28, len(body), proto, 64) + source + destination + body)
    word = offset >> 3 | more << 13 | df << 14
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ip_id, word, 64, proto, 0)
    header += source + destination
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return Packet(header + body)


def _summed(proto: int, body: bytes, at: int, src: str, dst: str) -> bytes:
    start = pseudo_sum(ip_address(src).packed, ip_address(dst).packed, proto, len(body))
    value = checksum(body, start) or (0xFFFF if proto == 17 else 0)
    return body[:at] + struct.pack("!H", value) + body[at + 2 :]


def tcp(
    flags: str,
    seq: int = 0,
    ack: int = 0,
    *,
    back: bool = False,
    window: int = 65535,
    payload: bytes = b"",
    options: bytes = b"",
    sport: int = 40000,
    dport: int = 80,
) -> Packet:
    """A segment from client to server, or back."""
    src, dst = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    if back:
        sport, dport = dport, sport
    bits = sum(1 << FLAGS.index(flag) for flag in flags)
    offset = (20 + len(options)) // 4 << 4
    body = struct.pack(
        "!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset, bits, window, 0, 0
    )
    return ip(6, _summed(6, body + options + payload, 16, src, dst), src, dst)


def udp(
    sport: int = 1024,
    dport: int = 53,
    payload: bytes = b"query",
    *,
    back: bool = False,
    src: str = CLIENT,
    dst: str = SERVER,
) -> Packet:
    if back:
        src, dst, sport, dport = dst, src, dport, sport
    body = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return ip(17, _summed(17, body, 6, src, dst), src, dst)


def icmp(kind: int, code: int = 0, rest: bytes = b"\0\x07\0\x01", *, back: bool = False) -> Packet:
    body = struct.pack("!BBH", kind, code, 0) + rest
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return ip(1, body, SERVER, CLIENT) if back else ip(1, body)


def sctp(tag: int, chunks: bytes, *, back: bool = False) -> Packet:
    ports = (80, 4000) if back else (4000, 80)
    body = struct.pack("!HHII", *ports, tag, 0) + chunks
    body = body[:8] + crc32c(body).to_bytes(4, "little") + body[12:]
    return ip(132, body, SERVER, CLIENT) if back else ip(132, body)


def chunk(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)
