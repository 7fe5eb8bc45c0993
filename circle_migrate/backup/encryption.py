"""Encryption of a dump by the `age` command (https://github.com/FiloSottile/age), where it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from circle_migrate.core.errors import SettingsError, UsageError

_RECIPIENTS = ("age1", "ssh-")
_HINT = "apt install age, brew install age, or https://github.com/FiloSottile/age"


def encrypting(recipient: str) -> list[str]:
    """The command that encrypts stdin for a recipient (age1…, ssh-…), or for those in a file.

    Raises `SettingsError` without `age`, `UsageError` for a recipient that is neither.
    """
    program = _age()
    if recipient.startswith(_RECIPIENTS):
        return [program, "--encrypt", "--recipient", recipient]
    if not Path(recipient).is_file():
        raise UsageError(
            f"{recipient} is neither a recipient nor a file with recipients",
            hint="--encrypt-to age1…, which `age-keygen` prints as the public key",
        )
    return [program, "--encrypt", "--recipients-file", recipient]


def decrypting(identity: Path | None) -> list[str]:
    """The command that decrypts stdin with the key in a file. Raises as `encrypting`."""
    if identity is None:
        raise UsageError(
            "a dump of this backup is encrypted", state="nothing was touched", hint="--identity KEY_FILE"
        )
    if not identity.is_file():
        raise UsageError(f"{identity} is not a file", hint="--identity names the file age-keygen wrote")
    return [_age(), "--decrypt", "--identity", str(identity)]


def _age() -> str:
    program = shutil.which("age")
    if program is None:
        raise SettingsError("there is no `age` on this machine, which encrypts dumps", hint=_HINT)
    return program
