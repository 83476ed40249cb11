"""Words for the values of options: good ones, ones at the edge, and bad ones.

What a value type declares (its limits, the words it knows) says most; beside
that, every option has words in fixtures/extensions, known to be good or bad.
From any word others are made by small changes.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from iptkit import api
from iptkit.extensions.choices import OneOf
from iptkit.extensions.hosts import HostAddress, HostMask, PrefixLength
from iptkit.extensions.labels import Label
from iptkit.extensions.numbers import MarkMask, UInt
from iptkit.extensions.ports import TcpPorts, UdpPorts
from iptkit.extensions.ranges import NumberRange
from iptkit.ruleset.binding import Binder
from iptkit.syntax.document import RuleLine
from iptkit.syntax.words import unquote
from tests.extensions.cases import files, read

if TYPE_CHECKING:
    from iptkit.extensions.spec import Extension, Option
    from iptkit.values.context import Family

    from .dice import Dice

Words = tuple[str, ...]  # the values of one option, as they mean

EDGES = (0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 1023, 1024, 65535, 65536)
HUGE = (1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64)
SERVICES = ("ssh", "http", "domain", "ftp", "https", "ntp", "tftp", "nosuch")
PROTOCOLS = (
    *("tcp", "udp", "tcp", "udp", "tcp", "udp", "icmp", "icmpv6", "ipv6-icmp", "esp", "ah", "sctp", "dccp"),
    *("udplite", "gre", "all", "0", "6", "17", "1", "58", "132", "33", "136", "255", "mh", "ipv6-mh", "135"),
    *("ipcomp", "108", "50", "51", "ipv6", "ipencap", "41", "4", "vrrp", "TCP", "Udp", "0x6", "06"),
)
ODD_PROTOCOLS = ("256", "-1", "", "tcpp", "nosuch", "tcp,udp", "0x", "6x", " 6", "+6", "1e1", "ICMPV6", "any")
ADDRESSES: dict[Family, Words] = {
    4: (
        *("10.0.0.1", "10.0.0.0/8", "192.168.1.0/24", "0.0.0.0/0", "10.1.2.3/255.255.0.0", "1.2.3.4/32"),
        *("10.0.0.1,10.0.0.2", "10.0.0.0/8,192.168.0.0/16", "1.2.3.4/255.0.255.0", "0/0", "10/8", "127.1"),
    ),
    6: (
        *("fe80::1", "2001:db8::/32", "::/0", "::1", "2001:db8::1/ffff::", "fc00::/7,fe80::/10", "::1.2.3.4"),
        *(
            "2001:db8::1,2001:db8::2",
            "1:2:3:4:5:6:7:8/128",
            "2001:db8::1/64",
            "::ffff:1.2.3.4",
            "2001:DB8::A",
        ),
    ),
}
ODD_ADDRESSES: dict[Family, Words] = {
    4: (
        *("10.0.0.1/33", "10.0.0.256", "1.2.3", "1.2.3.4.5", "10.0.0.1/", "/8", "", "010.0.0.1", "0x7f.1"),
        *("::1", "10.0.0.1/255.255.255", "10.0.0.1,", ",10.0.0.1", "1.2.3.4/-1", "1.2.3.4/0x8", "4294967295"),
        *("1.2.3.4/08", "10.0.0.1 ", "1.2.3.4/0.0.0.255", "1.2.3.4/+8"),
    ),
    6: (
        *("fe80::1/129", "1.2.3.4", ":::", "1::2::3", "fe80::1%eth0", "fe80::1/", "/64", "", "::1,", ",::1"),
        *("g::1", "::1/-1", "::1/0x40", "12345::", "[::1]", "::1/064", "::1/1.2.3.4", "::1/0", "::/+8"),
    ),
}
INTERFACES = ("eth0", "lo", "eth+", "+", "br-lan", "eth0.100", "wlan0", "tun+", "a" * 15, "veth1@x", "0")
ODD_INTERFACES = (
    "a" * 16,
    "",
    "eth0:1",
    "eth*",
    "e+h",
    "a b",
    "a" * 14 + "+",
    "a" * 15 + "+",
    "et/h",
    "!eth0",
    "-",
)
COUNTERS = (("1", "2"), ("0", "0"), ("5,6",), ("18446744073709551615", "1"), ("0x10", "010"))
ODD_COUNTERS = (("x", "1"), ("1",), ("-1", "2"), ("", ""), ("18446744073709551616", "1"), ("1,2,3",), (",",))


def good(cls: type[Extension], option: Option[Any], dice: Dice, family: Family) -> Words:
    """Words that the option takes, as far as can be told."""
    known = seeds(family).get((cls.kind, cls.name, option.field), ())
    if known and dice.chance(65):
        return dice.pick(known)
    made = declared(option.type, dice, family)
    if made is not None:
        return (made,)
    return dice.pick(known) if known else ("1",)


def odd(cls: type[Extension], option: Option[Any], dice: Dice, family: Family) -> Words:
    """Words that the option may take, or not."""
    known = seeds(family, refused=True).get((cls.kind, cls.name, option.field), ())
    if known and dice.chance(25):
        return dice.pick(known)
    words = list(good(cls, option, dice, family))
    if words:
        at = dice.number(0, len(words) - 1)
        words[at] = changed(words[at], dice)
        if dice.chance(20):
            words[at] = changed(words[at], dice)
    return tuple(words)


def declared(type_: Any, dice: Dice, family: Family) -> str | None:
    """A good word made from what the value type declares; None where that is not enough to know one."""
    if isinstance(type_, UInt):
        return spelled(number(type_.low, type_.high, dice), dice)
    if isinstance(type_, OneOf):
        return dice.pick(type_.choices)
    if isinstance(type_, MarkMask):
        value = spelled(number(0, 0xFFFFFFFF, dice), dice)
        return f"{value}/{spelled(number(0, 0xFFFFFFFF, dice), dice)}" if dice.chance(50) else value
    if isinstance(type_, TcpPorts | UdpPorts | NumberRange):
        return spelled_range(getattr(type_, "high", 65535), dice, services=not isinstance(type_, NumberRange))
    if isinstance(type_, PrefixLength):
        return spelled(number(0, 32 if family == 4 else 128, dice), dice)
    if isinstance(type_, HostMask):
        return dice.pick([word for word in ADDRESSES[family] if "," not in word])
    if isinstance(type_, HostAddress):
        return dice.pick([word for word in ADDRESSES[family] if "," not in word and "/" not in word])
    if isinstance(type_, Label):
        return dice.pick(("a", "web", "x-1", "name_2", "Z9"))
    names = getattr(type_, "names", None) or getattr(type_, "choices", None)
    if isinstance(names, dict) and names and all(isinstance(name, str) for name in names):
        picked = [dice.pick(list(names)) for _ in range(dice.number(1, 3))]
        return ",".join(dict.fromkeys(picked))
    return None


def number(low: int, high: int, dice: Dice) -> int:
    """Between the two, often at one of the ends or at a power of two."""
    if dice.chance(40):
        return dice.number(low, high)
    near = [each for each in (low, low + 1, high - 1, high, *EDGES, *HUGE) if low <= each <= high]
    return dice.pick(near)


def spelled(value: int, dice: Dice) -> str:
    """A number, mostly in decimal."""
    if dice.chance(75):
        return str(value)
    return dice.pick(
        (f"{value:#x}", f"0{value:o}", f"0X{value:X}", f"+{value}", f" {value}", f"0x0{value:x}")
    )


def spelled_range(high: int, dice: Dice, *, services: bool) -> str:
    first, second = number(0, high, dice), number(0, high, dice)
    if first > second and dice.chance(85):
        first, second = second, first
    low, last = spelled(first, dice), spelled(second, dice)
    if services and dice.chance(15):
        low = dice.pick(SERVICES)
    return dice.pick((low, low, low, f"{low}:{last}", f"{low}:{last}", f":{last}", f"{low}:", ":"))


_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_PUNCTUATION = ",:/-!+.%@#= \t'\"\\|&_*~x0a"


def changed(word: str, dice: Dice) -> str:
    """The word with a small change."""
    numbers = list(_NUMBER.finditer(word))
    if numbers and dice.chance(55):
        found = dice.pick(numbers)
        return word[: found.start()] + other_number(found[0], dice) + word[found.end() :]
    at = dice.number(0, len(word))
    how = dice.number(0, 11)
    if how == 0:
        return word[:at] + word[at + 1 :]
    if how in (1, 2):
        return word[:at] + dice.pick(_PUNCTUATION) + word[at:]
    if how == 3:
        return word.swapcase()
    if how == 4:
        return word[:at]
    if how == 5:
        return word + dice.pick((",", "-", ":", "/")) + word
    if how == 6:
        return word + dice.pick(_PUNCTUATION)
    if how == 7:
        return dice.pick(_PUNCTUATION) + word
    if how == 8:
        pieces = re.split(r"([,:/-])", word)
        pieces[dice.number(0, len(pieces) - 1)] = ""
        return "".join(pieces)
    if how == 9:
        pieces = re.split(r"([,:/-])", word)
        return "".join(pieces[::-1])
    if how == 10:
        return word * dice.pick((2, 3, 20)) if len(word) < 20 else word[:5]
    return word.upper() if word.islower() else word.lower()


def other_number(text: str, dice: Dice) -> str:
    value = int(text, 0) if not text.startswith("0") or text.lower().startswith("0x") else int(text)
    return dice.pick(
        (
            str(value + 1),
            str(max(value - 1, 0)),
            f"-{value}",
            f"+{value}",
            f" {value}",
            f"0{value}",
            f"{value:#x}",
            f"0{value:o}",
            f"{value}x",
            f"{value}.0",
            f"{value}.5",
            "",
            "08",
            "0x",
            str(dice.pick(EDGES)),
            str(dice.pick(EDGES)),
            str(dice.pick(HUGE)),
            str(value * 10),
            f"{dice.pick(HUGE):#x}",
        )
    )


Seeds = dict[tuple[str, str, str], tuple[Words, ...]]


@functools.cache
def seeds(family: Family, *, refused: bool = False) -> Seeds:
    """The words that the cases of the extensions give each option; of the cases refused, or of the others."""
    binder = Binder(family)
    found: dict[tuple[str, str, str], dict[Words, None]] = {}
    for case in (case for name in files() for case in read(name) if case.family == family):
        if (case.verdict == "refused") is not refused or case.verdict == "machine":
            continue
        for line in api.parse(case.text(case.rule).encode("latin-1")).lines:
            if not isinstance(line, RuleLine) or line.shape is None:
                continue
            bound = binder.bound(line.shape)
            if refused and bound.faults:
                continue
            for placed in (*bound.matches, bound.target):
                if placed is None:
                    continue
                for option, refs, _, _ in placed.segment.fields:
                    words = tuple(
                        unquote(line.values[placed.holes[ref]]) if isinstance(ref, int) else ref
                        for ref in refs
                    )
                    key = (placed.segment.cls.kind, placed.segment.cls.name, option.field)
                    if words or option.type is not None:
                        found.setdefault(key, {})[words] = None
    return {key: tuple(words) for key, words in found.items()}
