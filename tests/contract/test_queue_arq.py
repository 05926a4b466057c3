"""The contract, held by arq."""

from __future__ import annotations

import pytest

from .queues import suite_of

TestArq = suite_of("arq", __name__)

# arq is made for redis-py 5, and calls newer ones as it calls that.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:arq")
