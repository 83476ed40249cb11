"""What a kernel refuses of rules for what is around them: objects they name that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iptkit.conntrack.settings import PROTOCOL_FIELDS

if TYPE_CHECKING:
    from iptkit.conntrack.settings import Settings
    from iptkit.ruleset.model import Rule, Ruleset

# Helpers of the kernel, and the protocols they read (net/netfilter/nf_conntrack_*.c).
HELPERS = {
    "amanda": (17,),
    "ftp": (6,),
    "H.245": (6,),
    "irc": (6,),
    "netbios-ns": (17,),
    "pptp": (6,),
    "Q.931": (6,),
    "RAS": (17,),
    "sane": (6,),
    "sip": (6, 17),
    "snmp": (17,),
    "tftp": (17,),
}


def refused_by_kernel(ruleset: Ruleset, settings: Settings) -> Rule | None:
    """The first rule that names a helper or timeout policy which is not there, or not for its protocol."""
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                target: Any = rule.target
                if getattr(target, "name", "") != "CT" or not hasattr(target, "helper"):
                    continue
                protocol = 0 if rule.conditions.protocol_inverted else rule.conditions.protocol
                if target.helper and protocol not in HELPERS.get(target.helper, ()):
                    return rule
                if target.timeout:
                    policy = settings.policies.get(target.timeout)
                    if policy is None or policy[0] != PROTOCOL_FIELDS.get(protocol, "generic_timeouts"):
                        return rule
    return None
