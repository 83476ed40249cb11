"""What all tests share."""

from __future__ import annotations

import hypothesis

# How long one example takes says more about the machine than about iptkit.
hypothesis.settings.register_profile("iptkit", deadline=None)
hypothesis.settings.load_profile("iptkit")
