"""What the tests of the report share."""

from __future__ import annotations

import pytest
from report_sample import Report, harvest, run_record, sample_notebook


@pytest.fixture
def report() -> Report:
    """Notebook, run record and findings of a realistic report."""
    notebook = sample_notebook()
    return notebook, run_record(), harvest(notebook)
