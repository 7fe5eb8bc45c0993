"""Find the folders and packages that settings name, without importing them."""

import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from circle_migrate.core.errors import SettingsError

_PACKAGE = r"(?P<package>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::(?P<folder>.+))?"
_ATTRIBUTE = r"(?P<package>[A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"


class ObjectResolver:
    """Find packages on sys.path, then in the project, whose folder it appends to sys.path if needed.

    `added` has these folders. They go to the end, so that a project's module does not hide a library, except
    for those that `prepend_sys_path` names.
    """

    def __init__(self, project_root: Path) -> None:
        self._roots = (project_root, project_root / "src")
        self.added: list[Path] = []

    def prepend(self, folders: Sequence[Path]) -> None:
        """Put folders in front of sys.path, as Alembic does with its option `prepend_sys_path`."""
        new = [folder for folder in folders if str(folder) not in sys.path]
        sys.path[:0] = map(str, new)
        self.added += new

    def folder(self, text: str, base: Path, subject: str) -> Path:
        """Return the folder of "folder", "package.sub" or "package:folder"; a folder in `base` comes first.

        `subject` names the setting in messages. Raises SettingsError if there is no such folder.
        """
        path = base / Path(text).expanduser()
        try:
            if path.is_dir():
                return path.resolve()
        except OSError as error:
            raise SettingsError(
                f"{subject}: the folder {path} cannot be read",
                detail=error.strerror,
                hint="correct its path, or the permissions of its parent folders",
            ) from error
        match = re.fullmatch(_PACKAGE, text)
        if not match:
            raise SettingsError(
                f"{subject}: the folder {path} does not exist", hint="create it, or correct its path"
            )
        top, *rest = match["package"].split(".")
        spec = self._spec(top)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(location).joinpath(*rest, *(match["folder"] or "").split(":"))
            if folder.is_dir():
                return folder.resolve()
        raise SettingsError(
            f"{subject}: there is neither a folder {path} nor a package folder {text}",
            hint="write a folder, package.sub or package:folder",
        )

    def check_attribute(self, text: str, subject: str) -> None:
        """Raise SettingsError unless "package.module:attribute" is well-formed and its package exists."""
        match = re.fullmatch(_ATTRIBUTE, text)
        if not match:
            raise SettingsError(
                f"{subject} is not of the form package.module:attribute",
                hint="write for example app.models:metadata or app.models:Base.metadata",
            )
        self.check_module(match["package"], subject)

    def check_module(self, text: str, subject: str) -> None:
        """Raise SettingsError unless the package of a module exists."""
        package = text.partition(".")[0]
        if not package or not self._spec(package):
            raise SettingsError(
                f"{subject}: there is no package {package}",
                hint=f"install it, or run the command in its project ({self._roots[0]} was searched)",
            )

    def _spec(self, top: str) -> ModuleSpec | None:
        try:
            spec = importlib.util.find_spec(top)
        except ValueError:  # a module in sys.modules without a spec
            spec = None
        if spec:
            return spec
        for root in self._roots:
            if spec := PathFinder.find_spec(top, [str(root)]):
                sys.path.append(str(root))
                self.added.append(root)
                return spec
        return None
