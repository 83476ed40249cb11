"""Record packets in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.extensions.layout import Choice, Layout
from iptkit.extensions.spec import Option, Target
from iptkit.values.faults import BadValue
from iptkit.values.wording import did_you_mean, quote

if TYPE_CHECKING:
    from iptkit.extensions.world import World
    from iptkit.values.context import Context
    from iptkit.values.packet import Packet

TYPES = {"accept": 0, "drop": 1, "reject": 2}  # XT_AUDIT_TYPE_*


class AuditType:
    """accept, drop or reject, in any case."""

    metavar = "{accept|drop|reject}"
    words = 1
    code = "IPT129"

    def parse(self, text: str, context: Context) -> str:
        lower = text.lower()
        if lower not in TYPES:
            raise BadValue(
                f"must be accept, drop or reject, not {quote(text)}", hint=did_you_mean(text, TYPES)
            )
        return lower

    def show(self, value: str) -> str:
        return value


class Audit(Target, name="AUDIT"):
    """Record the packet in the kernel's audit log (auditd(8)), and go on.

    The type only says what the log is to say; the verdict is for another rule.
    """

    type = Option("--type", type=AuditType(), required=True, doc="what the record says is done to the packet")
    # struct xt_audit_info, linux/netfilter/xt_AUDIT.h
    layout = Layout(Choice("type", "B", TYPES))
    logs = True
    example = "-j AUDIT --type drop"

    def act(self, packet: Packet, world: World) -> str | None:
        return None  # The audit log is nothing a packet sees.


EXTENSIONS: tuple[Any, ...] = (Audit,)
