"""What a run may take, and how the kernel is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_MEMORY = "INSIGHT_MEMORY_BYTES"
_TEXT = "INSIGHT_TEXT_BYTES"
_DISPLAY = "INSIGHT_DISPLAY_BYTES"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may take before it is stopped.

    Attributes:
        memory_bytes: Allocations beyond the kernel's own at its start; zero for no limit.
        text_bytes: Printed output per run; the rest is dropped with a note.
        display_bytes: Displayed output (tables, figures) per run; more fails the run.
    """

    cell_seconds: float = 1800.0
    run_seconds: float = 3600.0
    start_seconds: float = 60.0
    memory_bytes: int = 0
    text_bytes: int = 10_000_000
    display_bytes: int = 50_000_000

    def to_environment(self) -> dict[str, str]:
        """The limits that the kernel itself keeps, as its environment variables."""
        return {
            _MEMORY: str(self.memory_bytes),
            _TEXT: str(self.text_bytes),
            _DISPLAY: str(self.display_bytes),
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Limits:
        """In the kernel: the limits that it keeps."""
        usual = cls()
        return cls(
            memory_bytes=int(environment.get(_MEMORY, usual.memory_bytes)),
            text_bytes=int(environment.get(_TEXT, usual.text_bytes)),
            display_bytes=int(environment.get(_DISPLAY, usual.display_bytes)),
        )


def share_of_memory(jobs: int) -> int:
    """Bytes that one of `jobs` parallel runs may take: its part of four fifths of memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(total * 0.8 / max(1, jobs))
