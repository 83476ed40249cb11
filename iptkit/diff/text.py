"""A difference for people.

    --- before.save
    +++ after.save
    @@ *filter INPUT @@
    -:INPUT ACCEPT
    +:INPUT DROP
    -  4     -A INPUT -s 10.0.0.9/32 -j DROP
    ~  5  4  -A INPUT -p tcp -m tcp --dport [-22-] {+2222+} -j ACCEPT
    >  2  7  -A INPUT -p icmp -j ACCEPT
    1 rule removed, 1 edited, 1 moved; 1 policy changed

The first column tells what happened: `-` removed, `+` added, `~` edited (with
the words that went and came marked as `git diff --word-diff` marks them), `>`
moved, `=` the same rule with other counters.  The two numbers are the rule's
in the old and in the new chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iptkit.diff.words import changed_words
from iptkit.text.source import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iptkit.diff.model import ChainDifference, Difference, RuleDifference
    from iptkit.ruleset.model import Chain, Counters, Rule

_SIGNS = {"added": "+", "removed": "-", "edited": "~", "moved": ">", "counters": "="}
# SGR codes (ECMA-48, 8.3.117), by sign and for the other kinds of line.
_PAINT = {"-": "31", "+": "32", "~": "33", ">": "36", "=": "2", "@": "36", "h": "1"}


class _Painter:
    __slots__ = ("on",)

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, kind: str, text: str) -> str:
        return f"\x1b[{_PAINT[kind]}m{text}\x1b[0m" if self.on else text


def render(difference: Difference, old: str, new: str, *, color: bool) -> str:
    """The whole text, "" when nothing differs; real text, not Latin-1."""
    if difference.same:
        return ""
    return "".join(line + "\n" for line in _lines(difference, old, new, _Painter(color)))


def _lines(difference: Difference, old: str, new: str, paint: _Painter) -> Iterator[str]:
    yield paint("h", f"--- {_name(old)}")
    yield paint("h", f"+++ {_name(new)}")
    for table in difference.tables:
        if table.change != "changed":
            sign = _SIGNS[table.change]
            yield paint(sign, f"{sign}*{table.name}")
        for chain in table.chains:
            yield paint("@", f"@@ *{table.name} {shown(chain.name)} @@")
            yield from _chain(chain, difference.counters, paint)
    yield summary(difference)


def _name(name: str) -> str:
    return shown(name.encode("utf-8", "surrogateescape").decode("latin-1"))


def _chain(chain: ChainDifference, counters: bool, paint: _Painter) -> Iterator[str]:
    old, new = chain.old, chain.new
    if chain.change == "renamed" and old is not None:
        count = len(old.rules)
        same = "its rule is the same" if count == 1 else f"its {count} rules are the same"
        yield paint(">", f">:{shown(old.name)} is now {shown(chain.name)}, {same}")
    elif chain.change != "changed" or chain.policies or (counters and chain.counters):
        if old is not None:
            yield paint("-", "-" + _chain_line(old, counters))
        if new is not None:
            yield paint("+", "+" + _chain_line(new, counters))
    numbers = [n for each in (old, new) if each is not None for n in (len(each.rules),)]
    width = len(str(max(numbers)))
    for rule in chain.rules:
        yield _rule(rule, chain, counters, width, paint)


def _chain_line(chain: Chain, counters: bool) -> str:
    line = f":{shown(chain.name)} {chain.policy or '-'}"
    return f"{line} {_counted(chain.counters)}" if counters and chain.builtin else line


def _counted(counters: Counters) -> str:
    return f"[{counters[0]}:{counters[1]}]"


def _rule(found: RuleDifference, chain: ChainDifference, counters: bool, width: int, paint: _Painter) -> str:
    old, new = found.old, found.new
    sign = _SIGNS[found.change]
    head = f"{sign}  {found.old_number or '':>{width}}  {found.new_number or '':>{width}}  "
    if counters:
        head += _counters(old, new)
    head += f"-A {shown(chain.name)}"
    if found.change != "edited" or old is None or new is None:
        rule = old if new is None else new
        return paint(sign, head + shown(rule.text() if rule is not None else ""))
    out = [paint(sign, head)]
    before, after = old.text(), new.text()
    for what, text in changed_words(before, after):
        if what == "removed":
            out.append(paint("-", f"[-{shown(text)}-]"))
        elif what == "added":
            out.append(paint("+", f"{{+{shown(text)}+}}"))
        else:
            out.append(shown(text))
    if before == after:
        # Such as ! -i +, which never matches, and of which nothing is printed.
        out.append("  (differs in what iptables-save does not print)")
    return " ".join(out)


def _counters(old: Rule | None, new: Rule | None) -> str:
    before = None if old is None else old.counters
    after = None if new is None else new.counters
    if before is None or after is None or before == after:
        return f"{_counted(before or after or (0, 0))} "
    return f"{_counted(before)} -> {_counted(after)} "


def summary(difference: Difference) -> str:
    """One line that counts: `2 rules added, 1 moved; 1 chain removed`."""
    counts = difference.summary()
    wording = (
        ("rules", "rule", ("added", "removed", "edited", "moved")),
        ("chains", "chain", ("added", "removed", "renamed")),
        ("tables", "table", ("added", "removed")),
    )
    said = []
    for group, word, kinds in wording:
        pieces = [(counts[group][kind], kind) for kind in kinds if counts[group][kind]]
        if pieces:
            first, *rest = pieces
            texts = [f"{first[0]} {word}{'s' if first[0] != 1 else ''} {first[1]}"]
            said.append(", ".join([*texts, *(f"{count} {kind}" for count, kind in rest)]))
    policies = counts["chains"]["policies"]
    if policies:
        said.append(f"{policies} {'policies' if policies != 1 else 'policy'} changed")
    recounted = counts["rules"]["counters"] + counts["chains"]["counters"]
    if recounted:
        said.append(f"counters changed in {recounted} place{'s' if recounted != 1 else ''}")
    return "; ".join(said)
