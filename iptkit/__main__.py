"""`python -m iptkit` is the command `iptkit`."""

from __future__ import annotations

from iptkit.cli.start import program

program()
