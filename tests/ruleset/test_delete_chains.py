"""-X: only of chains that are empty and that nothing jumps to, at the moment it stands."""

from __future__ import annotations

import pytest

from iptkit import api


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("-X a\n-X b\n", 0),
        ("-A INPUT -j a\n-X b\n-X a\n", 1),
        ("-X b\n-A INPUT -j a\n-X a\n", 1),
        ("-X b\n-A INPUT -j a\n-F INPUT\n-X a\n", 0),
        ("-A INPUT -j a\n-X b\n-D INPUT 1\n-X a\n", 0),
        ("-A a -j b\n-X b\n", 1),
        ("-A a -j b\n-F a\n-X\n", 0),
        ("-X b\n:b - [0:0]\n-A a -j b\n-X b\n", 1),
        ("-X LOG\n-A INPUT -j LOG --log-level 1\n", 0),
    ],
)
def test_delete(lines: str, status: int) -> None:
    text = f"*filter\n:a - [0:0]\n:b - [0:0]\n:LOG - [0:0]\n{lines}COMMIT\n"
    assert api.interpret(api.parse(text)).status == status
