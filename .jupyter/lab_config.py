"""JupyterLab on this project: it asks nothing of the outside, and opens on the notebooks."""

from pathlib import Path

from jupyterlab.handlers.announcements import NeverCheckForUpdate

c = get_config()  # type: ignore[name-defined] # noqa: F821 - given by Jupyter

project = Path(__file__).resolve().parent.parent
c.ServerApp.root_dir = str(project)
c.LabApp.default_url = "/lab/tree/notebooks"
c.LabApp.app_settings_dir = str(project / ".jupyter" / "settings")
c.LabApp.check_for_updates_class = NeverCheckForUpdate
c.LabApp.news_url = None
c.LabApp.extension_manager = "readonly"
