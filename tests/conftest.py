"""What all tests share."""

from __future__ import annotations

import signal

import hypothesis

# What runs in the background of a script starts with signals ignored, and so would every program the
# tests start.
for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, action)

# How long one example takes says more about the machine than about iptkit.
# The same commit gives the same answer wherever it is tested; `--hypothesis-profile=explore`
# asks new questions, as many as there is patience for.
hypothesis.settings.register_profile("iptkit", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("iptkit")
