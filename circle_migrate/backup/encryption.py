"""Commands that encrypt and decrypt a dump by `age` (https://github.com/FiloSottile/age)."""

from __future__ import annotations

import shutil
from pathlib import Path

from circle_migrate.core.errors import SettingsError, UsageError

_RECIPIENTS = ("age1", "ssh-")


def encrypt_command(recipient: str) -> list[str]:
    """Return the command that encrypts stdin for a recipient (age1…, ssh-…) or for those in a file.

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


def decrypt_command(identity: Path | None) -> list[str]:
    """Return the command that decrypts stdin with the key in a file. Raises as `encrypt_command`."""
    if identity is None:
        raise UsageError(
            "a dump of this backup is encrypted", state="nothing was changed", hint="--identity KEY_FILE"
        )
    if not identity.is_file():
        raise UsageError(
            f"{identity} is not a file", hint="--identity KEY_FILE, the file that `age-keygen` wrote"
        )
    return [_age(), "--decrypt", "--identity", str(identity)]


def _age() -> str:
    program = shutil.which("age")
    if program is None:
        raise SettingsError(
            "the program `age`, which encrypts dumps, is not on PATH",
            hint="apt install age, brew install age, or https://github.com/FiloSottile/age",
        )
    return program
