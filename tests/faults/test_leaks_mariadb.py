"""What two hundred jobs leave behind in MariaDB."""

from __future__ import annotations

from .leaks import Leaks


class TestMariaDB(Leaks):
    name = "mariadb"
