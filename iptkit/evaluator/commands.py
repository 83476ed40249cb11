"""The conntrack command, as far as scenarios use it: delete, insert, update, flush (conntrack(8))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.conntrack.dump import parse, state_name
from iptkit.conntrack.entry import Entry
from iptkit.conntrack.tcp import BE_LIBERAL, FLAGS, SACK_PERM, SEEN, STATES
from iptkit.conntrack.tracker import invert
from iptkit.evaluator.wire import PROTOCOLS, BadField, address_bytes, suggestion
from iptkit.extensions.world import ASSURED, CONFIRMED, FIXED_TIMEOUT, SEEN_REPLY
from iptkit.values.packet import ICMP, ICMPV6, TCP
from iptkit.values.tuples import Tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
_VALUED = frozenset(
    (
        "-p -s -d -r -q -t -m -u -f -w --sport --dport --reply-port-src --reply-port-dst --state"
        " --icmp-type --icmp-code --icmp-id"
    ).split()
)
_ANY = "src=0.0.0.0 dst=0.0.0.0 sport=0 dport=0"  # for what is filled in afterwards
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
        entry = _made(options, now)
        if tracker.settings.acct:
            entry.packets, entry.bytes = [0, 0], [0, 0]
        done = tracker.insert(entry)
        if done:
            return 0, f"{_VERSION}: 1 flow entries have been created.\n"
        return 1, f"{_VERSION}: Operation failed: Such conntrack exists, try -U to update\n"
    if action in ("-U", "--update"):
        wanted = {name: text for name, text in options.items() if name not in ("-m", "-t", "-u")}
        if any(_fits(entry, wanted) for entry in tracker.entries(now)):
            # It asks to change bits of NAT, too, which the kernel keeps to itself.
            failed = "Operation failed: Operation not supported\n"
            return 1, f"{failed}{_VERSION}: {failed}"
        return 1, f"{_VERSION}: 0 flow entries have been updated.\n"
    if action in ("-L", "--dump"):
        count = sum(1 for entry in tracker.entries(now) if _fits(entry, options))
        return 0, f"{_VERSION}: {count} flow entries have been shown.\n"
    raise BadField("cmd", f"conntrack {action} is not known here; -D, -F, -I, -L and -U are")


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
    seen: dict[str, Callable[[str], bool]] = {
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
        "-u": lambda text: not _status(text) & ~entry.status,
        "--state": lambda text: one.proto == TCP and state_name(entry) == text,
        "--icmp-type": lambda text: one.destination >> 8 == int(text),
        "--icmp-code": lambda text: one.destination & 255 == int(text),
        "--icmp-id": lambda text: one.source == int(text),
    }
    return all(seen[name](text) for name, text in options.items() if name in seen)


def _made(options: dict[str, str], now: float) -> Entry:
    """The entry that -I makes."""
    for name in ("-p", "-s", "-d", "-t"):
        if name not in options:
            raise BadField("cmd", f"conntrack -I needs {name}")
    proto = _protocol(options["-p"])
    query = int(options.get("--icmp-type", "8" if proto == ICMP else "128"))
    one = Tuple(
        6 if ":" in options["-s"] else 4,
        _number(options["-s"]),
        int(options.get("--icmp-id" if proto in (ICMP, ICMPV6) else "--sport", "0")),
        _number(options["-d"]),
        query << 8 | int(options.get("--icmp-code", "0"))
        if proto in (ICMP, ICMPV6)
        else int(options.get("--dport", "0")),
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
    entry = Entry(one, two)
    if proto == TCP:
        state = options.get("--state", "NONE")
        if state not in STATES:
            raise BadField("cmd", f"{state!r} is no state of a TCP connection")
        entry = parse(f"tcp 6 0 {state} {_ANY} {_ANY} use=1", now)
        entry.original, entry.reply = one, two
        entry.status = 0
        for side in SEEN:  # the program asks not to look at windows
            entry.state[side + FLAGS] = SACK_PERM | BE_LIBERAL
    zone = int(options.get("-w", "0"))
    entry.zones = zone, zone
    entry.status |= CONFIRMED | _status(options.get("-u", ""))
    entry.mark = int(options.get("-m", "0"), 0)
    entry.deadline = now + int(options["-t"])
    entry.started = now
    return entry


def _status(text: str) -> int:
    bits = 0
    for name in filter(None, text.split(",")):
        if name not in _STATUS:
            raise BadField("cmd", f"{name!r} is no status{suggestion(name, _STATUS)}")
        bits |= _STATUS[name]
    return bits
