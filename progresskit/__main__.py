"""`python -m progresskit` is the command `progresskit`."""

from __future__ import annotations

import sys

from progresskit.cli import main

sys.exit(main())
