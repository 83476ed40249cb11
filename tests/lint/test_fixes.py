"""Fixes cure findings, bring no new ones, and the safe ones leave what a file does as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iptkit import api
from iptkit.lint.fixes import REWRITING
from iptkit.ruleset.canonical import save
from iptkit.text.codes import CODES
from iptkit.text.diagnostic import Severity
from iptkit.text.source import Source

from .cases import Case, files, read

if TYPE_CHECKING:
    from iptkit.syntax.document import Document
    from iptkit.values.context import Family

LARGE = 2_000  # bytes: that much is text repeated


def loaded(document: Document, family: Family) -> list[str] | None:
    outcome = api.interpret(document, family)
    return None if outcome.status else list(save(outcome.ruleset))


@pytest.mark.parametrize("stem", files())
def test_fixes_of_all_cases(stem: str) -> None:
    unsafe = CODES[stem.partition("-")[0]][2] == "unsafe"
    for case in read(stem):
        if len(case.text) < LARGE and case.lines:
            look_at(case, unsafe)


def look_at(case: Case, unsafe: bool) -> None:
    family: Family = 6 if case.family == 6 else 4
    document = api.parse(case.text)
    before = api.lint(document, family=family, noflush=case.noflush)
    fixed = api.fix(document, family, unsafe=unsafe, noflush=case.noflush)
    after = api.parse_source(Source("fixed", fixed.text))
    left = api.lint(after, family=family, noflush=case.noflush)
    assert [(d.code, d.span) for d in left] == [(d.code, d.span) for d in fixed.left], case.where
    errors, still = (Counter(d.code for d in each if d.severity is Severity.ERROR) for each in (before, left))
    assert not still - errors, case.where
    if not unsafe and not any(d.code in REWRITING for d in fixed.cured):
        effect = loaded(document, family)
        assert effect is None or loaded(after, family) == effect, case.where
    again = api.fix(after, family, unsafe=unsafe, noflush=case.noflush)
    assert again.text == fixed.text, case.where
    assert not again.cured, case.where


CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared rulesets are not on this machine")
def test_safe_fixes_of_rulesets_leave_their_effect() -> None:
    paths = [path for path in sorted(CORPUS.glob("*/*.save")) if path.stat().st_size < 6_000]
    for path in paths[::20]:
        family: Family = 6 if ".v6." in path.name else 4
        document = api.parse(path.read_bytes())
        fixed = api.fix(document, family)
        before = api.lint(document, family=family)
        assert len(fixed.left) <= len(before), path
        effect = loaded(document, family)
        if effect is not None and not any(d.code in REWRITING for d in fixed.cured):
            assert loaded(api.parse_source(Source("fixed", fixed.text)), family) == effect, path
