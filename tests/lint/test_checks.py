"""Every check fires where its file in fixtures/lint says, and nowhere else in these texts."""

from __future__ import annotations

import pytest

from iptkit import api
from iptkit.lint.registry import codes, find
from iptkit.lint.suppress import UNUSED
from iptkit.text.codes import CODES, name_of
from iptkit.text.diagnostic import BOTH, Diagnostic, Severity

from .cases import Case, files, read


@pytest.mark.parametrize("stem", files())
def test_fires_and_stays_silent(stem: str) -> None:
    cases = read(stem)
    wrong = [f"{case.where}: {problem}" for case in cases for problem in problems(case)]
    assert not wrong, "\n".join(wrong)
    assert any(case.lines for case in cases), f"{stem}.txt has no case that fires"
    assert any(not case.lines for case in cases), f"{stem}.txt has no case that stays silent"


def problems(case: Case) -> list[str]:
    family = 6 if case.family == 6 else 4
    every = api.lint(api.parse(case.text), family=family, noflush=case.noflush)  # type: ignore[arg-type]  # 4 or 6
    found = [each for each in every if each.code == case.code]
    out = []
    lines = tuple(each.span.line for each in found)
    if lines != case.lines:
        out.append(f"found at {lines}, not {case.lines}")
    for each in found:
        if case.severity and each.severity.word != case.severity:
            out.append(f"line {each.span.line} is {each.severity.word}, not {case.severity}")
        wanted = case.backends or BOTH
        if each.severity is Severity.ERROR and set(each.backends) != set(wanted):
            out.append(f"line {each.span.line}: {each.backends} refuse, not {wanted}")
    out += [f"{each.code} {problem}" for each in every for problem in misplaced(case, each)]
    return out


def misplaced(case: Case, found: Diagnostic) -> list[str]:
    """Every finding must point into its line."""
    lines = case.text.decode("latin-1").split("\n")
    span = found.span
    if not 1 <= span.line <= len(lines):
        return [f"points to line {span.line} of {len(lines)}"]
    if not 0 <= span.start <= span.end <= len(lines[span.line - 1]):
        return [f"points to bytes {span.start} to {span.end} of line {span.line}"]
    return []


def test_every_check_has_its_file() -> None:
    assert files() == [f"{code}-{name_of(code)}" for code in codes()]


def test_every_code_has_its_check() -> None:
    assert [*codes(), UNUSED] == sorted(CODES, key=lambda code: (code == UNUSED, code))


def test_severities_are_those_of_the_catalogue() -> None:
    for stem in files():
        for case in read(stem):
            check = find(case.code)
            assert check is not None
            if case.severity:
                assert case.severity in {severity.word for severity in check.severities}, case.where
