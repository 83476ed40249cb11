"""Light an LED."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.labels import in_quotes
from iptkit.extensions.layout import Bits, Layout, Number, Pad, Reading
from iptkit.extensions.numbers import SignedWord
from iptkit.extensions.spec import Extension, Flag, Given, Option, Target
from iptkit.values.faults import BadValue
from iptkit.values.numbers import UINT32_MAX, parse_uint
from iptkit.values.wording import quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context, Family
    from iptkit.values.packet import Packet

_PREFIX = b"netfilter-"
_ID_SIZE = 27
_LIMIT = _ID_SIZE - 1 - len(_PREFIX)


class TriggerId:
    """The name of the trigger after `netfilter-`, up to 16 bytes."""

    metavar = "name"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        if len(text) > _LIMIT:
            raise BadValue(f"takes at most {_LIMIT} bytes, {quote(text)} has {len(text)}")
        return text

    def show(self, value: str) -> str:
        return in_quotes(value)


class Delay(SignedWord):
    """Milliseconds, or `inf`, which is 4294967295; iptables looks at three letters of it."""

    metavar = "milliseconds|inf"

    def parse(self, text: str, context: Context) -> int:
        return UINT32_MAX if text[:3].lower() == "inf" else parse_uint(text)


class _IdField:
    size = _ID_SIZE

    def __init__(self, field: str) -> None:
        self.field = field

    def write(self, use: Extension, family: Family) -> bytes:
        name: str = getattr(use, self.field) or ""
        return (_PREFIX + name.encode("latin-1")).ljust(self.size, b"\0")

    def read(self, piece: bytes, into: Reading) -> None:
        into.values[self.field] = piece.partition(b"\0")[0].removeprefix(_PREFIX).decode("latin-1")


class Led(Target, name="LED"):
    """Pull the trigger netfilter-NAME of the LED class with each packet; the packet goes on.

    An LED follows when the name is written to its `trigger` file in
    /sys/class/leds.  Needs a kernel with CONFIG_NETFILTER_XT_TARGET_LED.
    """

    revision = 0
    trigger = Option("--led-trigger-id", type=TriggerId(), required=True, doc="name of the trigger")
    delay = Option("--led-delay", type=Delay(), doc="milliseconds it stays lit; not at all if not given")
    always_blink = Flag("--led-always-blink", doc="blink also when it is lit")
    # struct xt_led_info, linux/netfilter/xt_LED.h
    layout = Layout(_IdField("trigger"), Bits("B", given={1: "always_blink"}), Number("delay", "I"), Pad(8))
    harmless = True
    example = '-p tcp -m tcp --dport 22 -j LED --led-trigger-id "ssh" --led-delay 1000'

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        return {field: each for field, each in given.items() if field != "delay" or each.value}

    def act(self, packet: Packet, world: World) -> str | None:
        return None  # Nor does a packet see the light.


EXTENSIONS: tuple[Any, ...] = (Led,)
