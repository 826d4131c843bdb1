"""From an executed notebook to a page that a stakeholder reads to the end."""
