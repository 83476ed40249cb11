"""The conntrack command, as far as scenarios use it: delete, insert and flush (conntrack(8))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.entry import Entry
from iptkit.conntrack.tracker import invert
from iptkit.evaluator.wire import PROTOCOLS, BadField, address_bytes
from iptkit.extensions.world import ASSURED, CONFIRMED, FIXED_TIMEOUT, SEEN_REPLY
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iptkit.conntrack.tracker import Tracker

_LONG = {
    "--proto": "-p",
    "--orig-src": "-s",
    "--src": "-s",
    "--orig-dst": "-d",
    "--dst": "-d",
    "--reply-src": "-r",
    "--reply-dst": "-q",
    "--timeout": "-t",
    "--mark": "-m",
    "--status": "-u",
    "--family": "-f",
    "--orig-port-src": "--sport",
    "--orig-port-dst": "--dport",
    "--zone": "-w",
}
_VALUED = frozenset("-p -s -d -r -q -t -m -u -f -w --sport --dport --reply-port-src --reply-port-dst".split())
_STATUS = {"ASSURED": ASSURED, "SEEN_REPLY": SEEN_REPLY, "FIXED_TIMEOUT": FIXED_TIMEOUT}
_VERSION = "conntrack v1.4.7 (conntrack-tools)"


def run_command(tracker: Tracker, words: Sequence[object], now: float) -> tuple[int, str]:
    """Run `conntrack -D ...`, `-I` or `-F`; exit status, and what it prints to standard error.

    Raises BadField for what it does not know.
    """
    given = [str(word) for word in words]
    if not given or given[0] != "conntrack" or len(given) < 2:
        raise BadField("cmd", "is no conntrack command")
    options = _options(given[2:])
    action = given[1]
    if action in ("-F", "--flush"):
        tracker.flush(now)
        return 0, f"{_VERSION}: connection tracking table has been emptied.\n"
    if action in ("-D", "--delete"):
        count = tracker.delete(lambda entry: _fits(entry, options), now)
        return int(not count), f"{_VERSION}: {count} flow entries have been deleted.\n"
    if action in ("-I", "--create"):
        done = tracker.insert(_made(options, now))
        if done:
            return 0, f"{_VERSION}: 1 flow entries have been created.\n"
        return 1, f"{_VERSION}: Operation failed: such conntrack exists, try -U to update\n"
    raise BadField("cmd", f"conntrack {action} is not known here; -D, -I and -F are")


def _options(words: list[str]) -> dict[str, str]:
    found = {}
    at = 0
    while at < len(words):
        name = _LONG.get(words[at], words[at])
        if name not in _VALUED or at + 1 == len(words):
            raise BadField("cmd", f"{words[at]!r} is no option known here, or lacks its value")
        found[name] = words[at + 1]
        at += 2
    return found


def _number(text: str) -> int:
    family = 6 if ":" in text else 4
    try:
        return int.from_bytes(address_bytes(text, 6 if family == 6 else 4), "big")
    except ValueError:
        raise BadField("cmd", f"{text!r} is no address") from None


def _protocol(text: str) -> int:
    if text.isdecimal():
        return int(text)
    if text not in PROTOCOLS:
        raise BadField("cmd", f"{text!r} is no protocol known here")
    return PROTOCOLS[text]


def _fits(entry: Entry, options: dict[str, str]) -> bool:
    one, two = entry.original, entry.reply
    seen = {
        "-p": lambda text: one.proto == _protocol(text),
        "-s": lambda text: one.src == _number(text),
        "-d": lambda text: one.dst == _number(text),
        "-r": lambda text: two.src == _number(text),
        "-q": lambda text: two.dst == _number(text),
        "--sport": lambda text: one.source == int(text),
        "--dport": lambda text: one.destination == int(text),
        "--reply-port-src": lambda text: two.source == int(text),
        "--reply-port-dst": lambda text: two.destination == int(text),
        "-m": lambda text: entry.mark == int(text, 0),
        "-w": lambda text: entry.zone == int(text),
        "-f": lambda text: one.family == (6 if text == "ipv6" else 4),
        "-u": lambda text: all(entry.status & _STATUS.get(name, 0) for name in text.split(",")),
    }
    return all(seen[name](text) for name, text in options.items() if name in seen)


def _made(options: dict[str, str], now: float) -> Entry:
    for name in ("-p", "-s", "-d"):
        if name not in options:
            raise BadField("cmd", f"conntrack -I needs {name}")
    proto = _protocol(options["-p"])
    one = Tuple(
        6 if ":" in options["-s"] else 4,
        _number(options["-s"]),
        int(options.get("--sport", "0")),
        _number(options["-d"]),
        int(options.get("--dport", "0")),
        proto,
    )
    two = invert(one)
    if two is None:
        raise BadField("cmd", "to such a connection there is no answer")
    two = two._replace(
        src=_number(options["-r"]) if "-r" in options else two.src,
        dst=_number(options["-q"]) if "-q" in options else two.dst,
        source=int(options.get("--reply-port-src", two.source)),
        destination=int(options.get("--reply-port-dst", two.destination)),
    )
    zone = int(options.get("-w", "0"))
    entry = Entry(one, two, (zone, zone))
    entry.status = CONFIRMED
    for name in options.get("-u", "").split(","):
        entry.status |= _STATUS.get(name, 0)
    entry.mark = int(options.get("-m", "0"), 0)
    entry.deadline = now + int(options.get("-t", "60"))
    entry.started = now
    return entry
