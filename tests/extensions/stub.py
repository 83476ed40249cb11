"""A world for extensions to ask, whose answers a test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.extensions.world import NatRange, Record, Template
    from iptkit.values.context import Family
    from iptkit.values.packet import Packet

T = TypeVar("T")


class World:
    """Nothing but a memory, and what a test puts in."""

    hz = 250
    minutes_west = 0

    def __init__(self, family: Family = 4, now: float = 1_700_000_000.0) -> None:
        self.family: Family = family
        self.now = now
        self.hook, self.table = "PREROUTING", "raw"
        self.place: Any = 0
        self.memories: dict[Any, Any] = {}
        self.names: dict[tuple[str, str], Any] = {}
        self.sets: dict[str, Any] = {}
        self.types: dict[int, str] = {}
        self.connections: dict[Tuple, Any] = {}
        self.mtu: int | None = None
        self.listening: bool | None = None
        self.done: list[tuple[Any, ...]] = []

    def memory(self, factory: Callable[[], T]) -> T:
        if self.place not in self.memories:
            self.memories[self.place] = factory()
        found: T = self.memories[self.place]
        return found

    def named(self, kind: str, name: str, factory: Callable[[], T]) -> T:
        if (kind, name) not in self.names:
            self.names[kind, name] = factory()
        found: T = self.names[kind, name]
        return found

    def choose(self, question: str, options: range | tuple[Any, ...]) -> Any:
        return options[0]

    def ipset(self, name: str) -> Any:
        return self.sets.get(name)

    def address_type(self, address: int, interface: str | None) -> str | None:
        return self.types.get(address)

    def reverse_path(
        self, packet: Packet, *, loose: bool, valid_mark: bool, accept_local: bool
    ) -> bool | None:
        return loose

    def device_group(self, interface: str) -> int | None:
        return {"eth0": 3}.get(interface)

    def socket(self, packet: Packet) -> Any:
        return False

    def source_address(self, packet: Packet) -> int | None:
        return 0x0A000001

    def interface_address(self, packet: Packet) -> int | None:
        return 0x0A000002

    def path_mtu(self, packet: Packet) -> int | None:
        return self.mtu

    def queue_program(self, queue: int) -> bool | None:
        return self.listening

    def deliver_locally(self, packet: Packet, address: int, port: int) -> bool | None:
        return self.listening

    def tuple_of(self, packet: Packet) -> Tuple | None:
        return Tuple(packet.family, packet.src, packet.sport, packet.dst, packet.dport, packet.proto)

    def find_connection(self, tuple_: Tuple, zone: int, direction: int) -> Any:
        return self.connections.get(tuple_)

    def nat(self, packet: Packet, range_: NatRange, kind: str) -> str:
        self.done.append((kind, range_))
        return "ACCEPT"

    def attach_template(self, packet: Packet, template: Template | None) -> None:
        self.done.append(("template", template))

    def record(self, packet: Packet, record: Record) -> None:
        self.done.append(tuple(record))

    def reject(self, packet: Packet, kind: str) -> None:
        self.done.append(("reject", kind))

    def icmp_error(self, packet: Packet, kind: int, code: int, info: int = 0) -> None:
        self.done.append(("error", kind, code, info))

    def send(self, packet: Packet) -> None:
        self.done.append(("send", packet))

    def copy_to(self, packet: Packet, gateway: int, interface: str) -> None:
        self.done.append(("copy", gateway, interface))


__all__ = ["World"]
