"""A firewall that grew for years: chains of some fifty rules each, over many matches and targets.

Nothing but the kernel's own modules is needed to load it: no sets, no host
names, no interfaces that must exist.  Every rule is written as iptables-save
writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.dice import Dice
from benchmarks.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PER_CHAIN = 50
# Built-in chain -> how the user chains begin that it leads to.
MANGLE_CHAINS = {"PREROUTING": "mark", "FORWARD": "clamp", "POSTROUTING": "shape"}
NAT_CHAINS = {"PREROUTING": "dnat", "POSTROUTING": "snat"}
FILTER_CHAINS = {"INPUT": "in", "FORWARD": "fwd", "OUTPUT": "out"}
INTERFACES = ("eth0", "eth1", "eth2.30", "br0", "wg0", "tun0", "ppp+", "bond0.100", "veth7")
PORTS = (
    *(20, 21, 22, 25, 53, 67, 80, 88, 110, 123, 143, 179, 389, 443, 465, 514, 587, 636, 853, 993),
    *(1194, 1723, 2049, 3000, 3306, 3389, 4500, 5060, 5432, 5900, 6379, 6443, 8080, 8443, 9090, 9200),
)
NOTES = (
    *("customer", "vpn users", "monitoring", "to be removed", "printers", "build farm", "db replica"),
    *("guest wifi", "mail in", "mail out", "old office", "new office", "backup run", "see ticket"),
)
STATES = ("NEW", "INVALID", "ESTABLISHED", "RELATED,ESTABLISHED", "NEW,ESTABLISHED", "UNTRACKED")
RATES = ("1/sec", "10/sec", "6/min", "30/min", "4/hour")
HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
REJECTS = ("icmp-port-unreachable", "icmp-host-prohibited", "icmp-admin-prohibited", "icmp-net-unreachable")
ALL_FLAGS = "FIN,SYN,RST,PSH,ACK,URG"


def lines(count: int, seed: int = 1) -> Iterator[str]:
    """A file with `count` rules, without line ends."""
    dice = Dice(seed)
    nat_rules = count // 12
    mangle_rules = count // 8
    mangle = Table("mangle", dict.fromkeys(HOOKS, "ACCEPT"))
    nat = Table("nat", dict.fromkeys(("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"), "ACCEPT"))
    filters = Table("filter", {"INPUT": "DROP", "FORWARD": "DROP", "OUTPUT": "ACCEPT"})
    _fill(mangle, dice, mangle_rules, MANGLE_CHAINS, _mangled)
    _fill(nat, dice, nat_rules, NAT_CHAINS, _translated)
    _fill(filters, dice, count - nat_rules - mangle_rules, FILTER_CHAINS, _filtered)
    for table in (mangle, nat, filters):
        yield from table.lines(dice)


def _fill(
    table: Table, dice: Dice, count: int, hooks: dict[str, str], rule: Callable[[Dice, str], str]
) -> None:
    """`count` rules: a few in the built-in chains that lead to user chains, and these filled evenly."""
    leaves = max(1, round(count / (PER_CHAIN + 1)))
    ways = list(hooks.items())
    for leaf in range(leaves):
        if table.rules < count:
            hook, stem = ways[leaf % len(ways)]
            condition = dice.pick((f"-s {_network(dice)}", f"-d {_network(dice)}", "-p tcp", "-p udp", ""))
            name = f"{stem}-{leaf:05d}"
            table.add(hook, f"{condition} -j {name}".lstrip())
            table.chains.setdefault(name, [])
    chains = [chain for chain in table.chains if chain not in table.policies]
    at = 0
    while table.rules < count:
        chain = chains[at % len(chains)]
        table.add(chain, rule(dice, chain))
        at += 1


# -- pieces of rules


def _network(dice: Dice) -> str:
    kind = dice.weighed(((5, "host"), (4, "24"), (1, "16"), (1, "odd")))
    first, second, third = dice.number(0, 255), dice.number(0, 255), dice.number(1, 254)
    if kind == "host":
        return f"10.{first}.{second}.{third}/32"
    if kind == "24":
        return f"10.{first}.{second}.0/24"
    if kind == "16":
        return f"172.{16 + first % 16}.0.0/16"
    return f"192.168.{second}.{third & 0xE0}/27"


def _port(dice: Dice) -> str:
    if dice.chance(0.85):
        return str(dice.pick(PORTS))
    low = dice.number(1024, 60000)
    return f"{low}:{low + dice.number(1, 999)}"


def _ports(dice: Dice) -> str:
    found = {dice.pick(PORTS) for _ in range(dice.number(2, 9))}
    return ",".join(map(str, sorted(found)))


def _conditions(dice: Dice, chain: str) -> list[str]:
    out = []
    if dice.chance(0.6):
        out.append(f"{'! ' if dice.chance(0.04) else ''}-s {_network(dice)}")
    if dice.chance(0.4):
        out.append(f"{'! ' if dice.chance(0.04) else ''}-d {_network(dice)}")
    if not chain.startswith(("out", "snat", "shape")) and dice.chance(0.3):
        out.append(f"{'! ' if dice.chance(0.06) else ''}-i {dice.pick(INTERFACES)}")
    if not chain.startswith(("in", "dnat", "mark")) and dice.chance(0.2):
        out.append(f"{'! ' if dice.chance(0.06) else ''}-o {dice.pick(INTERFACES)}")
    return out


def _protocol(dice: Dice) -> tuple[str, list[str]]:
    """A protocol, and what is asked of its header."""
    protocol = dice.weighed(((9, "tcp"), (5, "udp"), (2, "icmp"), (1, "other"), (4, "")))
    if protocol == "tcp":
        kind = dice.weighed(((12, "dport"), (2, "both"), (3, "multi"), (2, "flags")))
        if kind == "dport":
            return "tcp", [f"-p tcp -m tcp --dport {_port(dice)}"]
        if kind == "both":
            return "tcp", [f"-p tcp -m tcp --sport {_port(dice)} --dport {_port(dice)}"]
        if kind == "multi":
            return "tcp", [f"-p tcp -m multiport --dports {_ports(dice)}"]
        flags = dice.pick(("FIN,SYN,RST,ACK SYN", "SYN,RST SYN,RST", f"{ALL_FLAGS} NONE", "FIN,SYN FIN,SYN"))
        return "tcp", [f"-p tcp -m tcp --tcp-flags {flags}"]
    if protocol == "udp":
        if dice.chance(0.8):
            return "udp", [f"-p udp -m udp --dport {_port(dice)}"]
        return "udp", [f"-p udp -m multiport --sports {_ports(dice)}"]
    if protocol == "icmp":
        return "icmp", [f"-p icmp -m icmp --icmp-type {dice.pick(('0', '3', '3/4', '8', '11', '12'))}"]
    if protocol == "other":
        return "", [f"-p {dice.pick(('gre', 'esp', 'ah', 'ospf', 'sctp'))}"]
    return "", []


def _extras(dice: Dice, chain: str) -> list[str]:
    out = []
    if dice.chance(0.35):
        match = "state --state" if dice.chance(0.1) else "conntrack --ctstate"
        out.append(f"-m {match} {dice.pick(STATES)}")
    if dice.chance(0.25):
        kind = dice.number(0, 9)
        low = dice.number(1, 120)
        if kind == 0:
            net = f"10.{dice.number(0, 255)}.{dice.number(0, 255)}"
            out.append(f"-m iprange --src-range {net}.{low}-{net}.{low + dice.number(1, 99)}")
        elif kind == 1 and chain.startswith(("in", "fwd", "mark", "dnat")):
            tail = ":".join(f"{dice.number(0, 255):02x}" for _ in range(5))
            out.append(f"-m mac --mac-source 02:{tail}")
        elif kind == 2:
            out.append(f"-m mark --mark 0x{low:x}/0xff")
        elif kind == 3:
            out.append(f"-m addrtype --dst-type {dice.pick(('LOCAL', 'BROADCAST', 'MULTICAST'))}")
        elif kind == 4:
            out.append(f"-m length --length {low}:{low + dice.number(1, 1000)}")
        elif kind == 5:
            out.append(f"-m ttl --ttl-{dice.pick(('lt', 'gt', 'eq'))} {low}")
        elif kind == 6:
            out.append(f"-m connmark --mark 0x{low:x}")
        elif kind == 7:
            out.append(f"-m dscp --dscp 0x{low % 64:02x}")
        elif kind == 8:
            out.append(f"-m pkttype --pkt-type {dice.pick(('unicast', 'broadcast', 'multicast'))}")
        else:
            burst = f" --limit-burst {low}" if low != 5 else ""
            out.append(f"-m limit --limit {dice.pick(RATES)}{burst}")
    if dice.chance(0.25):
        out.append(f'-m comment --comment "{dice.pick(NOTES)} {dice.number(1, 99999)}"')
    return out


def _filtered(dice: Dice, chain: str) -> str:
    protocol, asked = _protocol(dice)
    target = dice.weighed(
        ((40, "ACCEPT"), (22, "DROP"), (12, "RETURN"), (9, "REJECT"), (9, "LOG"), (4, "NFLOG"), (4, "MARK"))
    )
    if target == "REJECT":
        kind = "tcp-reset" if protocol == "tcp" and dice.chance(0.5) else dice.pick(REJECTS)
        target = f"REJECT --reject-with {kind}"
    elif target == "LOG":
        target = f'LOG --log-prefix "{chain[:9]} {dice.pick(("drop", "scan", "odd"))}: "'
        if dice.chance(0.3):
            target += f" --log-level {dice.pick((3, 5, 6, 7))}"
    elif target == "NFLOG":
        target = f"NFLOG --nflog-prefix {chain[:9]} --nflog-group {dice.number(1, 32)}"
    elif target == "MARK":
        target = f"MARK --set-xmark 0x{dice.number(1, 65535):x}/0xffffffff"
    return _rule(dice, chain, asked, target)


def _mangled(dice: Dice, chain: str) -> str:
    protocol, asked = _protocol(dice)
    kind = dice.number(0, 6)
    if chain.startswith("clamp") and protocol == "tcp":
        asked = ["-p tcp -m tcp --tcp-flags SYN,RST SYN"]
        target = (
            "TCPMSS --clamp-mss-to-pmtu" if dice.chance(0.5) else f"TCPMSS --set-mss {dice.number(500, 1460)}"
        )
    elif kind < 2:
        target = f"MARK --set-xmark 0x{dice.number(1, 255):x}/0xff"
    elif kind == 2:
        target = f"TOS --set-tos 0x{dice.pick((8, 16, 4)):02x}/0xff"
    elif kind == 3:
        target = f"DSCP --set-dscp 0x{dice.pick((8, 10, 18, 26, 46)):02x}"
    elif kind == 4:
        target = f"CONNMARK --{dice.pick(('save', 'restore'))}-mark --nfmask 0xffffffff --ctmask 0xffffffff"
    elif kind == 5:
        target = f"TTL --ttl-{dice.pick(('set', 'inc', 'dec'))} {dice.number(1, 64)}"
    else:
        target = "CLASSIFY --set-class 0001:0010" if chain.startswith("shape") else "RETURN"
    return _rule(dice, chain, asked, target)


def _translated(dice: Dice, chain: str) -> str:
    protocol, asked = _protocol(dice)
    ported = protocol in ("tcp", "udp")
    if chain.startswith("dnat"):
        host = f"10.{dice.number(0, 9)}.{dice.number(0, 255)}.{dice.number(1, 254)}"
        if ported and dice.chance(0.2):
            target = f"REDIRECT --to-ports {dice.pick(PORTS)}"
        else:
            target = f"DNAT --to-destination {host}{f':{dice.pick(PORTS)}' if ported else ''}"
    elif dice.chance(0.4):
        target = "MASQUERADE"
    else:
        target = f"SNAT --to-source 198.51.100.{dice.number(1, 254)}"
    return _rule(dice, chain, asked, target)


def _rule(dice: Dice, chain: str, asked: list[str], target: str) -> str:
    return " ".join([*_conditions(dice, chain), *asked, *_extras(dice, chain), f"-j {target}"])
