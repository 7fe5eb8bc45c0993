"""Refuse configuration that another user could have written."""

import os
from collections.abc import Mapping
from pathlib import Path

from circle_migrate.config.databases import SAFE_FOLDERS
from circle_migrate.core.errors import SettingsError


def foreign_error(path: Path, cwd: Path, environ: Mapping[str, str], *owners: int) -> SettingsError | None:
    """Return the error for a file that another user could have written or moved there.

    As for git, a file of this user, of root or, under sudo, of the calling user is safe. In the current
    folder a file of the folder's owner is safe, too: a checkout in a container often has another owner. So
    are files of the `owners`.
    """
    user = os.geteuid()
    safe = {user, 0, *owners}
    if user == 0 and environ.get("SUDO_UID", "").isdecimal():
        safe.add(int(environ["SUDO_UID"]))
    folder = path.parent.stat().st_uid
    if path.parent == cwd:
        safe.add(folder)
    foreign = {folder, path.lstat().st_uid, path.stat().st_uid} - safe
    trusted = filter(None, environ.get(SAFE_FOLDERS, "").split(os.pathsep))
    if not foreign or any(text == "*" or Path(text).resolve() == path.parent for text in trusted):
        return None
    return SettingsError(
        f"{path} is not read: it or its folder belongs to another user"
        f" (uid {foreign.pop()}; yours is {user})",
        state="nothing was changed",
        hint=f"if you trust that user, set {SAFE_FOLDERS}={path.parent} in the environment (* trusts"
        " every folder), as is needed in a container whose checkout belongs to another user",
    )
