"""Write packets to the kernel log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Bits, Layout, Number, String
from iptkit.extensions.logprefix import LogPrefix
from iptkit.extensions.spec import Flag, Given, Option, Target
from iptkit.extensions.world import Record
from iptkit.values.faults import BadValue
from iptkit.values.numbers import parse_uint
from iptkit.values.wording import choices, quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

# Names of syslog(3), as iptables spells them.
LEVELS = {
    "emerg": 0,
    "panic": 0,
    "alert": 1,
    "crit": 2,
    "error": 3,
    "warning": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}
DEFAULT = 4


class LogLevel:
    """A syslog level, by name or by number from 0 to 7."""

    metavar = "level"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> int:
        level = LEVELS.get(text)
        if level is not None:
            return level
        try:
            return parse_uint(text, 0, 7)
        except ValueError:
            raise BadValue(
                f"must be a level from 0 to 7 or its name, not {quote(text)}", hint=choices(text, LEVELS)
            ) from None

    def show(self, value: int) -> str:
        return str(value)


class Log(Target, name="LOG"):
    """Write a line about the packet to the kernel log, and go on to the next rule.

    The prefix is cut to 29 bytes without a word.  A rule that many packets
    match wants `-m limit` before it.
    """

    revision = 0
    log_prefix = Option(
        "--log-prefix", type=LogPrefix(29), doc="text at the start of the line, up to 29 bytes"
    )
    log_level = Option(
        "--log-level", type=LogLevel(), doc="syslog level: 0 to 7 or a name; 4 (warning) when not given"
    )
    log_tcp_sequence = Flag("--log-tcp-sequence", doc="log TCP sequence numbers")
    log_tcp_options = Flag("--log-tcp-options", doc="log the options of the TCP header")
    log_ip_options = Flag("--log-ip-options", doc="log the options of the IP header")
    log_uid = Flag("--log-uid", doc="log the user whose socket sent the packet")
    log_macdecode = Flag("--log-macdecode", doc="log MAC addresses and protocol apart")
    # struct xt_log_info, linux/netfilter/xt_LOG.h
    layout = Layout(
        Number("log_level", "B", DEFAULT),
        Bits(
            "B",
            given={
                0x01: "log_tcp_sequence",
                0x02: "log_tcp_options",
                0x04: "log_ip_options",
                0x08: "log_uid",
                0x20: "log_macdecode",
            },
        ),
        String("log_prefix", 30),
    )
    logs = True
    effect = "steady"
    example = '-m limit --limit 5/min -j LOG --log-prefix "dropped: " --log-level 6'

    plain = True  # settle refuses nothing

    @classmethod
    def settle(cls, given: dict[str, Given], context: Context) -> dict[str, Given]:
        if "log_level" in given and given["log_level"].value == DEFAULT:
            return {field: found for field, found in given.items() if field != "log_level"}
        return given

    def act(self, packet: Packet, world: World) -> str | None:
        level = DEFAULT if self.log_level is None else self.log_level
        world.record(packet, Record("LOG", self.log_prefix or "", level=level))
        return None


EXTENSIONS: tuple[Any, ...] = (Log,)
