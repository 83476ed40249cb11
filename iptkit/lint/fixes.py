"""Cure findings by the edits they bring along, and make sure that nothing else happens.

Edits are applied in rounds, since one cure may make room for another: first
those that leave what the file loads as it is, then those that take away or
rewrite rules.  After each round the text is looked at anew.  A round that
brings new findings, or changes what the file does, is taken back and tried
again check by check; a check whose cures do harm is left alone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from iptkit.text.diagnostic import Severity
from iptkit.text.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iptkit.text.diagnostic import Diagnostic, Edit

ROUNDS = 30
SINGLY = 20  # findings that are tried one by one
# Checks whose cures leave the effect as it is, but not the rules; or take a CR off that nobody meant.
REWRITING = frozenset(("IPT002", "IPT204", "IPT208", "IPT221", "IPT310", "IPT501", "IPT504"))


class Look(NamedTuple):
    """What a text is: its findings, and what it loads, None where that is not all of it."""

    found: list[Diagnostic]
    effect: list[str] | None


class Fixed(NamedTuple):
    """A text after its cures, the findings that were cured and those that are left."""

    text: str
    cured: list[Diagnostic]
    left: list[Diagnostic]


def fix(text: str, look: Callable[[str], Look], *, unsafe: bool = False) -> Fixed:
    """Cure what can be cured: with safe edits, or with all.  `look` looks at a text anew."""
    now = look(text)
    cured: list[Diagnostic] = []
    harmful: set[str] = set()
    for _ in range(ROUNDS):
        chosen = _curable(now.found, unsafe, harmful)
        if not chosen:
            break
        for some in _attempts(chosen):
            after = edited(text, some)
            then = look(after)
            if after != text and _is_good(now, then, some):
                text, now = after, then
                cured += some
                harmful.clear()  # what did harm may do none now
                break
        else:
            harmful.update(_codes(chosen))
    return Fixed(text, cured, now.found)


def _codes(found: Iterable[Diagnostic]) -> set[str]:
    return {each.code for each in found}


def _attempts(chosen: list[Diagnostic]) -> Iterator[list[Diagnostic]]:
    """What to try, one after the other: everything, check by check, and of few findings each by itself."""
    yield chosen
    for code in sorted(_codes(chosen)):
        yield [each for each in chosen if each.code == code]
    if len(chosen) <= SINGLY:
        for each in chosen:
            yield [each]


def _is_safe(found: Diagnostic) -> bool:
    return all(edit.safe for edit in found.fix)


def _curable(found: list[Diagnostic], unsafe: bool, harmful: set[str]) -> list[Diagnostic]:
    """The findings to cure in this round, of edits that overlap the first alone."""
    wanted = [each for each in found if each.fix and (unsafe or _is_safe(each)) and each.code not in harmful]
    # Safe before unsafe, and what leaves the rules as they are before what does not.
    kinds = [(not _is_safe(each), each.code in REWRITING) for each in wanted]
    first = min(kinds, default=None)
    taken: dict[int, list[Edit]] = {}
    out = []
    for each, kind in sorted(zip(wanted, kinds, strict=True), key=lambda pair: pair[0].code):
        if kind == first and not any(_collides(edit, taken) for edit in each.fix):
            out.append(each)
            for edit in each.fix:
                taken.setdefault(edit.span.line, []).append(edit)
    return out


def _collides(edit: Edit, taken: dict[int, list[Edit]]) -> bool:
    return any(
        edit.span.start <= other.span.end and other.span.start <= edit.span.end
        for other in taken.get(edit.span.line, ())
    )


def edited(text: str, found: Iterable[Diagnostic]) -> str:
    """A text with the edits of findings; they must not overlap."""
    lines = text.split("\n")
    starts = []
    at = 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    out: list[str] = []
    done = 0
    edits = {edit for each in found for edit in each.fix}
    for edit in sorted(edits, key=lambda edit: edit.span):
        start = starts[edit.span.line - 1] + edit.span.start
        if start < done:
            continue
        out += (text[done:start], edit.text)
        done = starts[edit.span.line - 1] + edit.span.end
    out.append(text[done:])
    return "".join(out)


def _is_good(before: Look, after: Look, cured: list[Diagnostic]) -> bool:
    """Has a round done what it should, and no more?"""
    errors = [Counter(each.code for each in look.found if _is_error(each)) for look in (before, after)]
    if errors[1] - errors[0]:
        return False
    if not any(_is_error(each) for each in cured):
        # What kept nothing from loading cannot have hidden anything.
        all_found = [Counter(each.code for each in look.found) for look in (before, after)]
        if all_found[1] - all_found[0]:
            return False
    keeps = all(_is_safe(each) and each.code not in REWRITING for each in cured)
    return not keeps or before.effect is None or before.effect == after.effect


def _is_error(found: Diagnostic) -> bool:
    return found.severity is Severity.ERROR
