"""Run the post-write hooks of an alembic.ini on a new revision file.

Alembic ignores their exit status and lets them write to stdout; here both are reported.
"""

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path

from alembic.script import write_hooks

from circle_migrate.core.errors import text_of

_LOG = logging.getLogger(__name__)


class PostWriteHook:
    """One hook: a command, or a function that a module has registered.

    Raises `ValueError` or `KeyError` if it cannot run, before any file is written.
    """

    def __init__(self, options: Mapping[str, str], folder: Path) -> None:
        self.name = options["_hook_name"]
        self._options = options
        self._folder = folder / options.get("cwd", "")
        self._command = self._find_command()
        self._arguments("")

    def _find_command(self) -> list[str] | None:
        """Return the beginning of the command, None for a registered function."""
        kind = self._required("type")
        if kind == "exec":
            name = self._required("executable")
            path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
            found = shutil.which(self._folder / name if os.sep in name else name, path=path)
            if found is None:
                raise ValueError(f"there is no program {name}")
            return [found]
        if kind == "module":
            name = self._required("module")
            try:
                spec = importlib.util.find_spec(name)
            except ModuleNotFoundError:
                spec = None
            if spec is None:
                raise ValueError(f"there is no module {name}")
            return [sys.executable, "-m", name]
        if kind == "console_scripts":
            name = self._required("entrypoint")
            for entry in entry_points(group="console_scripts", name=name):
                return [sys.executable, "-c", f"import {entry.module}; {entry.module}.{entry.attr}()"]
            raise ValueError(f"no installed package has the console script {name}")
        if kind not in write_hooks._registry:
            raise ValueError(
                f"its type {kind} is not known: name the module that registers it in the setting imports"
            )
        return None

    def _required(self, name: str) -> str:
        try:
            return self._options[name]
        except KeyError:
            raise ValueError(f"it has no {name}") from None

    def _arguments(self, path: str) -> list[str]:
        """Return the arguments, which are those that Alembic makes of `options`."""
        return write_hooks._parse_cmdline_options(self._options.get("options", ""), path)

    def run(self, path: Path) -> str | None:
        """Run the hook on a file. Return its exit status and output if it failed, None if not."""
        try:
            if self._command is None:
                with redirect_stdout(StringIO()):
                    write_hooks._invoke(self._options["type"], path, self._options)
                return None
            process = subprocess.run(
                [*self._command, *self._arguments(str(path))],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        except Exception as error:  # noqa: BLE001 - a registered function can raise anything
            return f"failed: {type(error).__name__}: {text_of(error)}"
        output = process.stdout.strip()
        if process.returncode:
            return f"ended with exit status {process.returncode}: {output}"
        _LOG.info("post-write hook %s: %s", self.name, output)
        return None


def read_hooks(options: Iterable[Mapping[str, str]], folder: Path) -> Iterator[PostWriteHook]:
    """Yield the hooks of alembic.ini, which is in `folder`. Raises `ValueError` for one that cannot run."""
    for hook in options:
        try:
            yield PostWriteHook(hook, folder)
        except (KeyError, ValueError) as error:
            raise ValueError(f"the post-write hook {hook.get('_hook_name')} cannot run: {error}") from error
