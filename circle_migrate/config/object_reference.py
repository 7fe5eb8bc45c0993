"""Folders and modules that settings name, found without importing anything."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from circle_migrate.core.errors import SettingsError

_PACKAGE = r"(?P<package>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::(?P<folder>.+))?"
_ATTRIBUTE = r"(?P<package>[A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"


class ObjectResolver:
    """Looks packages up on sys.path and then in the project, whose folder it adds to sys.path if need be.

    `added` holds these folders. They go to the end, so that nothing in a project hides a library.
    """

    def __init__(self, project_root: Path) -> None:
        self._roots = (project_root, project_root / "src")
        self.added: list[Path] = []

    def folder(self, text: str, base: Path, said: str) -> Path:
        """The folder that "folder", "package.sub" or "package:folder" means; a folder in `base` comes first.

        Raises SettingsError when there is none.
        """
        path = base / Path(text).expanduser()
        try:
            if path.is_dir():
                return path.resolve()
        except OSError as error:
            raise SettingsError(
                f"{said}: the folder {path} cannot be looked at",
                detail=error.strerror,
                hint="correct its path, or the permissions on the way to it",
            ) from error
        match = re.fullmatch(_PACKAGE, text)
        if not match:
            raise SettingsError(
                f"{said}: the folder {path} does not exist", hint="create it, or correct its path"
            )
        top, *rest = match["package"].split(".")
        spec = self._spec(top)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            found = Path(location).joinpath(*rest, match["folder"] or "")
            if found.is_dir():
                return found.resolve()
        raise SettingsError(
            f"{said}: there is neither a folder {path} nor a package folder {text}",
            hint="write a folder, package.sub or package:folder",
        )

    def check_attribute(self, text: str, said: str) -> None:
        """Check that "package.module:attribute" is well-formed and its package is there.

        Raises SettingsError otherwise.
        """
        match = re.fullmatch(_ATTRIBUTE, text)
        if not match:
            raise SettingsError(
                f"{said} is not of the form package.module:attribute",
                hint="write it like app.models:metadata or app.models:Base.metadata",
            )
        if not self._spec(match["package"]):
            raise SettingsError(
                f"{said}: there is no package {match['package']}",
                hint=f"install it, or run in the project that has it ({self._roots[0]} was searched)",
            )

    def _spec(self, top: str) -> ModuleSpec | None:
        try:
            spec = importlib.util.find_spec(top)
        except ValueError:  # a module that was put into sys.modules by hand
            spec = None
        if spec:
            return spec
        for root in self._roots:
            if spec := PathFinder.find_spec(top, [str(root)]):
                sys.path.append(str(root))
                self.added.append(root)
                return spec
        return None
