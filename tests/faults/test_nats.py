"""Faults of NATS."""

from __future__ import annotations

from .suite import Faults


class TestNATS(Faults):
    name = "nats"
