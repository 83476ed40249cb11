"""Follow a packet through all rules."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.layout import Layout
from iptkit.extensions.spec import TABLES, Place, Target


class Trace(Target, name="TRACE"):
    """Have the kernel report every rule that the packet matches from here on.

    Reports go to the kernel log, or with iptables-nft to `xtables-monitor
    --trace`.  Valid in raw only; with iptables-nft in any table.
    """

    where = Place(tables=("raw",), nft_tables=TABLES)
    layout = Layout()
    example = "-p icmp -j TRACE"


EXTENSIONS: tuple[Any, ...] = (Trace,)
