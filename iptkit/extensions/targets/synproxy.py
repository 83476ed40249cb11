"""Answer SYNs for the server until the client is there."""

from __future__ import annotations

from typing import Any

from iptkit.extensions.layout import Bits, Layout, Number
from iptkit.extensions.numbers import UInt
from iptkit.extensions.spec import Flag, Given, Option, Place, Target
from iptkit.values.context import Context


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


EXTENSIONS: tuple[Any, ...] = (Synproxy,)
