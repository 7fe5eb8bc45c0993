"""The command that prints the password of a database, for tokens that are valid for minutes."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PasswordCommand:
    """A command, run in `folder`; `source` names its setting in messages, `text` is the command as typed."""

    argv: tuple[str, ...]
    text: str
    folder: Path
    source: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, value: object, folder: Path, source: str) -> "PasswordCommand":
        """Return the command of a program and its arguments, or of a text for the shell.

        Raises `ValueError`.
        """
        if isinstance(value, str) and value.strip():
            return cls(("/bin/sh", "-c", value.strip()), value.strip(), folder, source)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value) and value[0]:
            return cls(tuple(value), shlex.join(value), folder, source)
        raise ValueError("should be a program and its arguments, or a text for the shell")
