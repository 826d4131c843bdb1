"""JupyterLab on this project: it asks nothing of the outside, and opens on the notebooks."""

from pathlib import Path
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyterlab.handlers.announcements import NeverCheckForUpdate

c = get_config()  # type: ignore[name-defined] # noqa: F821 - given by Jupyter

project = Path(__file__).resolve().parent.parent
c.ServerApp.root_dir = str(project)
c.LabApp.default_url = "/lab/tree/notebooks"
c.LabApp.app_settings_dir = str(project / ".jupyter" / "settings")
c.LabApp.check_for_updates_class = NeverCheckForUpdate
c.LabApp.news_url = None
c.LabApp.extension_manager = "readonly"

SPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class Templates(AsyncLargeFileManager):
    """Notebooks are opened with what JupyterLab would write into them, and saved without it.

    Otherwise a template is marked as changed when its kernel starts, and a save would write the
    version of Python of whoever opened it.
    """

    async def get(self, *given: Any, **named: Any) -> Any:
        """A file as Jupyter has it, a notebook with this kernel's description."""
        model = await super().get(*given, **named)
        if model["type"] == "notebook" and model["content"]:
            info = dict(IPythonKernel.language_info)
            model["content"]["metadata"] |= {"kernelspec": SPEC, "language_info": info}
        return model


def without_version(model: dict[str, Any], **_: Any) -> None:
    """What is saved says the language, and not its version."""
    if model["type"] == "notebook":
        model["content"]["metadata"]["language_info"] = {"name": "python"}


c.ServerApp.contents_manager_class = Templates
c.Templates.pre_save_hook = without_version
