"""The contract, held by MariaDB."""

from __future__ import annotations

from .suites import contract_of

TestMariaDB = contract_of("mariadb", __name__)
