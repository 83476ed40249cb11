"""Answers to untracked packets are tracked, whatever -j CT says of them."""

from __future__ import annotations

from iptkit import api

RULES = """*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -j CT --notrack
-A OUTPUT -j CT --notrack
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p udp -j REJECT
COMMIT
"""


def test_what_reject_sends() -> None:
    """nf_conntrack_attach leaves a mark that xt_CT takes for a connection; seen on Linux 6.18."""
    for family in ("ipv4", "ipv6"):
        rules = RULES if family == "ipv4" else RULES.replace("-j REJECT", "-j REJECT --reject-with no-route")
        step = {"from": "client", "packet": {"proto": "udp", "payload": "x"}}
        tracked = api.run_scenario({"family": family, "rules": rules, "steps": [step]})["steps"][0]["ct"]
        assert [(each["kind"], each["state"]) for each in tracked] == [
            ("injected", "UNTRACKED"),
            ("generated", "INVALID"),
        ]
