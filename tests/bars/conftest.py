"""A kit in this process, for jobs whose bars are drawn into a text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from progresskit import Kit


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit("memory://", strict=True)
    yield kit
    kit.close()
