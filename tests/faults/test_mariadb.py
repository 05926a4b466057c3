"""What MariaDB may suffer."""

from __future__ import annotations

from .suite import Faults


class TestMariaDB(Faults):
    name = "mariadb"
