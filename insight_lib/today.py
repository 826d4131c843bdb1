"""The one place that reads the clock for what depends on it: permissions and what cannot be yet."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime


def read_today() -> date:
    """The day on which permissions are judged: `INSIGHT_TODAY` of a run, else the clock's."""
    given = os.environ.get("INSIGHT_TODAY")
    return date.fromisoformat(given) if given else datetime.now(UTC).date()
