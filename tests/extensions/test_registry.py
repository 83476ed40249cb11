"""The registry names every extension there is, and each says what help and manual need."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import iptkit.extensions.matches
import iptkit.extensions.targets
from iptkit import api
from iptkit.extensions.connections import STATES
from iptkit.extensions.manual import manual
from iptkit.extensions.registry import MATCHES, TARGETS, find_match, find_target
from iptkit.extensions.spec import HOOKS, TABLES, Extension, Match, Target
from iptkit.extensions.world import ALL_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from iptkit.values.context import Family

FAMILIES: tuple[Family, ...] = (4, 6)
PACKAGES = {"matches": (MATCHES, iptkit.extensions.matches), "targets": (TARGETS, iptkit.extensions.targets)}
# x_tables.h: XT_EXTENSION_MAXNAMELEN, with its NUL
NAME_LIMIT = 28


def modules_named(package: str) -> dict[str, str]:
    """Name -> module, for every name of the registry."""
    return {name: module or name.lower() for name, module in PACKAGES[package][0].items()}


def classes() -> list[tuple[str, type[Extension]]]:
    """Every class of every module that can be found, with its module's name."""
    found = []
    for package, (_, container) in PACKAGES.items():
        for info in pkgutil.iter_modules(container.__path__):
            module = importlib.import_module(f"iptkit.extensions.{package}.{info.name}")
            found += [(f"{package}.{info.name}", cls) for cls in module.EXTENSIONS]
    return found


@functools.cache
def pages() -> dict[str, str]:
    """The sections of iptkit-extensions(7), by their heads."""
    text = (Path(__file__).parents[2] / "man" / "iptkit-extensions.7").read_text(encoding="ascii")
    _, *sections = text.split("\n.Ss ")
    return {head: page for head, _, page in (section.partition("\n") for section in sections)}


CLASSES = classes()
every_class = pytest.mark.parametrize(
    ("module", "cls"), CLASSES, ids=[f"{module}.{cls.__name__}" for module, cls in CLASSES]
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_has_its_module(package: str) -> None:
    there = {info.name for info in pkgutil.iter_modules(PACKAGES[package][1].__path__)}
    named = set(modules_named(package).values())
    assert not named - there, f"named in the registry, but there is no module: {sorted(named - there)}"
    assert not there - named, f"modules that no name of the registry leads to: {sorted(there - named)}"


@pytest.mark.parametrize(("find", "names"), [(find_match, MATCHES), (find_target, TARGETS)])
def test_every_name_finds_its_class(
    find: Callable[[str, Family], type[Extension] | None], names: Any
) -> None:
    lost = []
    for name in names:
        found = [cls for family in FAMILIES if (cls := find(name, family)) is not None]
        if not found or any(name not in (cls.name, *cls.aliases) for cls in found):
            lost.append(name)
    assert not lost, f"no class for {lost}"


def test_no_name_leads_to_two_classes() -> None:
    seen: dict[tuple[str, int, str], str] = {}
    for module, cls in CLASSES:
        for family in cls.families:
            for name in (cls.name, *cls.aliases):
                key = (cls.kind, family, name)
                assert key not in seen, f"{name} is in {module} and in {seen[key]}"
                seen[key] = module


@every_class
def test_names(module: str, cls: type[Extension]) -> None:
    package, _, stem = module.partition(".")
    assert issubclass(cls, Match if package == "matches" else Target)
    names = modules_named(package)
    for name in (cls.name, *cls.aliases):
        assert names.get(name) == stem, f"the registry does not lead from {name} to {module}"
    assert cls.families
    assert set(cls.families) <= {4, 6}
    assert 0 < len(cls.kernel_name) <= NAME_LIMIT
    assert set(cls.where.tables) <= set(TABLES)
    assert set(cls.where.hooks) <= set(HOOKS)


@every_class
def test_options(module: str, cls: type[Extension]) -> None:
    fields = {option.field for option in cls.options}
    names: dict[str, str] = {}
    for option in cls.options:
        assert option.names, f"{option.field} has no name"
        for name in option.names:
            assert name.startswith("--")
            assert name not in names, f"{name} is an option twice"
            names[name] = option.field
        assert option.doc, f"{option.flag} has no doc"
        assert not option.doc.endswith("."), f"{option.flag}: a doc line is no sentence, and has no full stop"
        assert {*option.excludes, *option.needs} <= fields - {option.field}, option.flag
        if option.type is not None:
            assert option.type.metavar, f"{option.flag} has no metavar"
            assert option.type.code.startswith("IPT")
            assert option.type.words >= 1
    assert set(cls.at_least_one) <= fields


@every_class
def test_manual(module: str, cls: type[Extension]) -> None:
    text = cls.__dict__.get("__doc__") or ""
    assert text.strip(), "the docstring is the manual, and there is none"
    assert text.strip().split("\n")[0].endswith((".", ",", ":")), "the first line is a sentence"


@every_class
def test_what_the_manual_shows(module: str, cls: type[Extension]) -> None:
    """Its synopsis has every option, each option a line, and where it may stand is said in full."""
    shown = manual(cls)
    assert shown.summary
    assert shown.synopsis[0] == f"{'-m' if cls.kind == 'match' else '-j'} {cls.name}"
    synopsis = " ".join(shown.synopsis[1:])
    for option in shown.options:
        assert option.written() in synopsis
        assert option.doc
    places = dict(shown.places())
    assert places.keys() >= {"families", "tables", "hooks", "protocols"}
    assert all(places.values()), places
    assert shown.example
    page = pages().get(f"{cls.name} (IPv{cls.families[0]})") or pages()[cls.name]
    assert f"{cls.name}\\fR" in page.replace("\\-", "-"), "no synopsis"
    assert "\nFamilies: " in page, "where it may stand is not said"
    assert "\nExample:\n" in page
    assert page.count("\n.It ") >= len(cls.options)


@every_class
def test_example(module: str, cls: type[Extension]) -> None:
    assert cls.example, "there is no example"
    words = cls.example.split()
    flag = "-m" if issubclass(cls, Match) else "-j"
    assert any(words[i : i + 2] == [flag, cls.name] for i in range(len(words))), cls.example
    place = cls.where
    table = "filter" if "filter" in place.tables else place.tables[0]
    chains = {
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        "raw": ("PREROUTING", "OUTPUT"),
        "security": ("INPUT", "FORWARD", "OUTPUT"),
    }.get(table, HOOKS)
    # -i and -o are refused in some chains: the example is good where any takes it.
    tried: dict[str, Any] = {}
    for chain in chains:
        if chain not in place.hooks:
            continue
        outcome = api.interpret(api.parse(f"*{table}\n-A {chain} {cls.example}\nCOMMIT\n"), cls.families[0])
        if not outcome.status:
            return
        tried[chain] = outcome.diagnostics[0].message
    pytest.fail(f"{cls.example}: {tried}")


def test_all_states_are_those_that_have_names() -> None:
    assert sum(STATES.values()) == ALL_STATES
