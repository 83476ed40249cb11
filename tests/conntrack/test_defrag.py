"""Fragments: together again, and cut as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from iptkit.conntrack.defrag import Defragmenter, fragments, must_fragment
from iptkit.values.checksum import checksum
from tests.conntrack.packets import ip, udp

if TYPE_CHECKING:
    from random import Random

    from iptkit.values.packet import Packet


def pieces(body: bytes, sizes: list[int], *, df: bool = False, ip_id: int = 9) -> list[Packet]:
    out, offset = [], 0
    for size in [*sizes, len(body) - sum(sizes)]:
        more = offset + size < len(body)
        out.append(ip(17, body[offset : offset + size], ip_id=ip_id, offset=offset, more=more, df=df))
        offset += size
    return out


SIZES = st.lists(st.integers(1, 20).map(lambda size: size * 8), min_size=1, max_size=8)


@given(SIZES, st.integers(1, 100), st.randoms(), st.booleans())
def test_any_order_gives_the_datagram_and_the_same_sizes_leave(
    sizes: list[int], last: int, chance: Random, doubled: bool
) -> None:
    whole = udp(payload=bytes(range(256)) * 20)
    body = bytes(whole.data[20 : 20 + sum(sizes) + last])
    parts = pieces(body, sizes)
    order = [*parts]
    if doubled:
        order.append(parts[0])  # before the last one comes: a duplicate changes nothing
    chance.shuffle(order)
    defragmenter = Defragmenter(4)
    done = [packet for packet in (defragmenter.add(part, 5.0) for part in order) if packet is not None]
    assert len(done) == 1
    assert done[0].data[20:] == body
    assert done[0].fragment_sizes == (*sizes, last)
    assert checksum(done[0].data[:20]) == 0
    assert must_fragment(done[0], 1500)
    again = fragments(done[0], 1500)
    assert again is not None
    assert [part.data for part in again] == [part.data for part in parts]


def test_fragments_wait_and_are_forgotten() -> None:
    defragmenter = Defragmenter(4)
    first, second = pieces(bytes(80), [40])
    assert defragmenter.add(first, 0.0) is None
    assert defragmenter.add(second, 31.0) is None  # the first is gone
    defragmenter.expire(100.0)
    assert not defragmenter.queues


def test_an_overlap_throws_all_away() -> None:
    defragmenter = Defragmenter(4)
    first, second = pieces(bytes(80), [40])
    odd = ip(17, bytes(24), ip_id=9, offset=32, more=True)
    assert [defragmenter.add(part, 0.0) for part in (first, odd, second)] == [None, None, None]


def test_a_packet_with_df_is_cut_only_into_what_fits() -> None:
    packet = ip(17, bytes(1400), df=True)
    assert not must_fragment(packet, 1500)
    assert fragments(packet, 1000) is None
    parts = fragments(ip(17, bytes(1400)), 1000)
    assert parts is not None
    assert [part.length for part in parts] == [996, 444]


def test_a_router_does_not_cut_ipv6() -> None:
    packet = ip(17, bytes(1400), "fd00::1", "fd00::2")
    assert fragments(packet, 1280) is None
    parts = fragments(packet, 1280, local=True)
    assert parts is not None
    assert [part.length for part in parts] == [1280, 216]
    defragmenter = Defragmenter(6)
    back = [defragmenter.add(part, 0.0) for part in parts]
    assert back[1] is not None
    assert back[1].data == packet.data
