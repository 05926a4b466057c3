"""What two hundred jobs leave behind in NATS."""

from __future__ import annotations

from .leaks import Leaks


class TestNATS(Leaks):
    name = "nats"
