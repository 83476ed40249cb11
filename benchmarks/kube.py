"""What kube-proxy keeps on a node of a large cluster: a few shapes of rules, over and over.

Each service has a chain that picks one of its endpoints' chains by chance;
each of these marks hairpin traffic and rewrites the destination.  Names of
chains end in a hash, as there.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from benchmarks.dice import Dice
from benchmarks.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINTS = 3
KINDS = (("http", "tcp", 80, 8080), ("https", "tcp", 443, 8443), ("grpc", "tcp", 50051, 50051),
         ("metrics", "tcp", 9090, 9100), ("dns", "udp", 53, 1053), ("db", "tcp", 5432, 5432))  # fmt: skip
SPACES = ("default", "shop", "search", "billing", "infra", "monitoring", "kube-system", "team-a", "team-b")
SCALE = 1 << 31  # the kernel keeps a probability in 31 bits


def lines(count: int, seed: int = 1) -> Iterator[str]:
    """A file of `count` rules, or a few more to fill the last service, without line ends."""
    dice = Dice(seed)
    nat = Table("nat", dict.fromkeys(("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"), "ACCEPT"))
    filters = Table("filter", dict.fromkeys(("INPUT", "FORWARD", "OUTPUT"), "ACCEPT"))
    _frame(nat, filters)
    endpoint = 0
    number = 0
    while nat.rules + filters.rules < count - 1:
        number += 1
        kind, protocol, port, inner = dice.pick(KINDS)
        name = f"{dice.pick(SPACES)}/{dice.pick(('api', 'web', 'worker', 'cache', 'proxy'))}-{number}:{kind}"
        at = f"-d {_address(172, 16, number)}/32 -p {protocol}"
        if dice.chance(0.02):
            refused = f"{_note(f'{name} has no endpoints')} -m {protocol} --dport {port}"
            filters.add("KUBE-SERVICES", f"{at} {refused} -j REJECT --reject-with icmp-port-unreachable")
            continue
        service = _chain("KUBE-SVC-", name)
        wanted = f"{at} {_note(f'{name} cluster IP')} -m {protocol} --dport {port}"
        nat.add("KUBE-SERVICES", f"{wanted} -j {service}")
        nat.add(service, f"! -s 10.0.0.0/8 {wanted} -j KUBE-MARK-MASQ")
        for left in range(ENDPOINTS, 0, -1):
            host = _address(10, 64, endpoint)
            endpoint += 1
            to = f"{host}:{inner}"
            chain = _chain("KUBE-SEP-", f"{name} {to}")
            chance = f" -m statistic --mode random --probability {_share(left)}" if left > 1 else ""
            nat.add(service, f"{_note(f'{name} -> {to}')}{chance} -j {chain}")
            nat.add(chain, f"-s {host}/32 {_note(name)} -j KUBE-MARK-MASQ")
            nat.add(chain, f"-p {protocol} {_note(name)} -m {protocol} -j DNAT --to-destination {to}")
    last = _note("node ports; the last rule")
    nat.add("KUBE-SERVICES", f"{last} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    for table in (nat, filters):
        yield from table.lines(dice)


def _frame(nat: Table, filters: Table) -> None:
    """The chains that every node has."""
    to_services = f"{_note('kubernetes service portals')} -j KUBE-SERVICES"
    nat.add("PREROUTING", to_services)
    nat.add("OUTPUT", to_services)
    nat.add("POSTROUTING", f"{_note('kubernetes postrouting rules')} -j KUBE-POSTROUTING")
    nat.add("KUBE-MARK-MASQ", "-j MARK --set-xmark 0x4000/0x4000")
    nat.add(
        "KUBE-POSTROUTING",
        "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-j MARK --set-xmark 0x4000/0x0",
        f"{_note('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully",
    )
    nat.chains["KUBE-NODEPORTS"] = []
    new = "-m conntrack --ctstate NEW"
    for hook in ("INPUT", "FORWARD", "OUTPUT"):
        filters.add(hook, f"{new} {to_services}")
    filters.add("FORWARD", f"{_note('kubernetes forwarding rules')} -j KUBE-FORWARD")
    filters.add(
        "KUBE-FORWARD",
        "-m conntrack --ctstate INVALID -j DROP",
        f"{_note('kubernetes forwarding rules')} -m mark --mark 0x4000/0x4000 -j ACCEPT",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )
    filters.chains["KUBE-SERVICES"] = []


def _note(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _chain(stem: str, text: str) -> str:
    return stem + base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


def _address(first: int, second: int, number: int) -> str:
    number += (first << 24) + (second << 16) + 1
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def _share(parts: int) -> str:
    """One of so many, as it is saved after the kernel has kept it."""
    return f"{round(float(f'{1 / parts:.10f}') * SCALE) / SCALE:.11f}"
