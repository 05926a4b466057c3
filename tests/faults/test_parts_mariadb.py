"""Parts in MariaDB, under faults."""

from __future__ import annotations

from .parts import PartsUnderFaults


class TestMariaDB(PartsUnderFaults):
    name = "mariadb"
