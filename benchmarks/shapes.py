"""A file in which no two rules are alike but for their values: every one is another combination of options.

What a program saves by knowing the shape of a rule already, it cannot save here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.dice import Dice
from benchmarks.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

# One of each row makes a rule.  The first of a row is nothing; @ stands for a number, # for an address.
CHOICES: tuple[tuple[str, ...], ...] = (
    ("", "-s #/32", "! -s #/32"),
    ("", "-d #/32", "! -d #/32"),
    ("", "-i eth@", "! -i eth@"),
    ("-p tcp", "-p tcp -m tcp --dport @", "-p tcp -m tcp --sport @", "-p tcp -m tcp --sport @ --dport @",
     "-p tcp -m tcp ! --dport @", "-p tcp -m multiport --dports @,22", "-p udp -m udp --dport @",
     "-p udp -m udp --sport @ ! --dport @"),
    ("", "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate INVALID"),
    ("", "-m mark --mark 0x@", "-m mark ! --mark 0x@"),
    ("", "-m length --length @", "-m ttl --ttl-gt @", "-m ttl --ttl-lt @", "-m addrtype --dst-type LOCAL"),
    ("", "-m limit --limit 3/min", "-m limit --limit 3/min --limit-burst @"),
    ("", "-m comment --comment rule-@"),
    ("-j LOG", "-j LOG --log-prefix x@", "-j LOG --log-tcp-sequence", "-j LOG --log-uid",
     "-j LOG --log-prefix x@ --log-tcp-sequence", "-j LOG --log-tcp-sequence --log-tcp-options",
     "-j LOG --log-prefix x@ --log-tcp-sequence --log-ip-options", "-j MARK --set-xmark 0x@/0xff",
     "-j NFLOG --nflog-group @", "-j NFLOG --nflog-prefix y@ --nflog-group @"),
)  # fmt: skip
MOST = 1
for _row in CHOICES:
    MOST *= len(_row)
# Steps through the combinations far apart; prime to their number, so that none comes twice.
STRIDE = 100_003


def lines(count: int, seed: int = 1) -> Iterator[str]:
    """A file with `count` rules, without line ends.  Raises ValueError for more than MOST."""
    if count > MOST:
        raise ValueError(f"there are {MOST} combinations, not {count}")
    dice = Dice(seed)
    table = Table("filter", dict.fromkeys(("INPUT", "FORWARD", "OUTPUT"), "ACCEPT"))
    at = dice.number(0, MOST - 1)
    for _ in range(count):
        at = (at + STRIDE) % MOST
        table.add("FORWARD", _rule(at, dice))
    yield from table.lines(dice)


def _rule(number: int, dice: Dice) -> str:
    out = []
    for row in CHOICES:
        number, choice = divmod(number, len(row))
        if row[choice]:
            out.append(row[choice])
    rule = " ".join(out)
    while "@" in rule:
        rule = rule.replace("@", str(dice.number(10, 99)), 1)
    while "#" in rule:
        rule = rule.replace("#", f"10.{dice.number(0, 255)}.{dice.number(0, 255)}.{dice.number(1, 254)}", 1)
    return rule
