"""Which matches and targets there are, and in which module.

Names are data, so that start-up imports only what a ruleset uses.  A module
is called like the extension, lower case, `-` as `_`; where one module holds
several, it is named here.  tests/extensions/test_registry.py holds this table
against the files.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iptkit.extensions.spec import Match, Target
    from iptkit.values.context import Family

# name -> module, "" for one called like the extension
MATCHES: dict[str, str] = {
    **dict.fromkeys(
        (
            "addrtype ah bpf cgroup cluster comment connbytes connlabel connlimit connmark conntrack cpu"
            " dccp devgroup dscp dst ecn esp eui64 frag hashlimit hbh helper hl icmp icmp6 ipcomp iprange"
            " ipv6header ipvs length limit mac mark mh multiport nfacct osf owner physdev pkttype policy"
            " quota rateest realm recent rpfilter rt sctp set socket srh state statistic string tcp tcpmss"
            " time tos ttl u32 udp"
        ).split(),
        "",
    ),
    "icmpv6": "icmp6",
    "ipv6-icmp": "icmp6",
}
TARGETS: dict[str, str] = dict.fromkeys(
    (
        "AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK IDLETIMER"
        " LED LOG MARK MASQUERADE NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SECMARK SET SNAT"
        " SNPT SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG"
    ).split(),
    "",
)


@functools.cache
def find_match(name: str, family: Family) -> type[Match] | None:
    """The class of `-m name`, None where that family has none."""
    return _find("matches", MATCHES, name, family)


@functools.cache
def find_target(name: str, family: Family) -> type[Target] | None:
    """The class of `-j NAME`, None where that family has none."""
    return _find("targets", TARGETS, name, family)


def _find(package: str, names: dict[str, str], name: str, family: Family) -> type | None:
    stem = names.get(name)
    if stem is None:
        return None
    module = importlib.import_module(f"iptkit.extensions.{package}.{stem or name.lower()}")
    for cls in module.EXTENSIONS:
        if family in cls.families and (name == cls.name or name in cls.aliases):
            found: type = cls
            return found
    return None
