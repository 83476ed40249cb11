"""iptkit rule"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from iptkit.cli.common import color_option, fail, want_color
from iptkit.lint.manual import Manual, manual
from iptkit.lint.registry import codes, find

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = "iptkit-check/1"
_SEVERITY = {"error": "red", "warning": "yellow", "info": "cyan"}
_WIDTH = 79


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The codes and names of checks that begin so."""
    from iptkit.text.codes import name_of

    there = codes()
    return [word for word in (*there, *map(name_of, there)) if word.startswith(incomplete)]


@click.command()
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", help="text, or JSON"
)
@color_option
@click.argument("code", required=False, shell_complete=_complete)
def command(format_: str, color: str, code: str | None) -> None:
    """Tell what a check of `iptkit lint` means, why it matters, and what to write instead.

    CODE is a code (IPT209) or a name (host-bits-set); without it all checks are listed.
    """
    wanted = [code] if code else codes()
    manuals = []
    for word in wanted:
        check = find(word)
        if check is None:
            fail(_unknown(word))
        manuals.append(manual(check))
    painted = want_color(color)
    if format_ == "json":
        import json

        text = json.dumps({"schema": SCHEMA, "checks": [each._asdict() for each in manuals]}, indent=1) + "\n"
    elif code:
        text = "".join(_page(manuals[0], painted))
    else:
        text = "".join(_listed(each, painted) for each in manuals)
    click.echo(text, nl=False, color=painted)


def _unknown(word: str) -> str:
    import difflib

    from iptkit.text.codes import name_of

    near = difflib.get_close_matches(word, [*codes(), *map(name_of, codes())], 1)
    return f"there is no check {word!r}" + (f", did you mean {near[0]}?" if near else "")


def _listed(each: Manual, painted: bool) -> str:
    severity = "/".join(each.severities)
    shown = _styled(severity, painted, fg=_SEVERITY[each.severities[0]]) + " " * (14 - len(severity))
    return f"{each.code}  {shown} {each.name:22} {each.summary}\n"


def _page(each: Manual, painted: bool) -> Iterator[str]:
    import textwrap

    severity = _styled(" or ".join(each.severities), painted, fg=_SEVERITY[each.severities[0]])
    yield f"{_styled(f'{each.code} {each.name}', painted, bold=True)} ({severity}; fix: {each.fix})\n\n"
    yield f"{each.summary}\n"
    for title, text in (("What", each.what), ("Why", each.why)):
        filled = textwrap.indent(textwrap.fill(text, _WIDTH - 2), "  ")
        yield f"\n{_styled(title, painted, bold=True)}\n{filled}\n"
    for title, text in (("Example", each.example), ("Instead", each.instead)):
        yield f"\n{_styled(title, painted, bold=True)}\n{textwrap.indent(text, '  ')}\n"


def _styled(text: str, painted: bool, **style: Any) -> str:
    return click.style(text, **style) if painted else text
