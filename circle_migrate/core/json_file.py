"""Read JSON files that may be damaged, endless or nested without bound."""

import errno
import json
import os
import select
from pathlib import Path
from typing import Any

MAX_BYTES = 256 << 20
_MAX_DEPTH = 100
_PIPE_SECONDS = 5


def read_bounded(path: Path) -> bytes:
    """Return the content of a file. Raises `OSError`, also for more than `MAX_BYTES` or an idle pipe."""
    # An open of a pipe waits for the process that writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "rb") as file:
        if not select.select([file], [], [], _PIPE_SECONDS)[0]:
            raise OSError(errno.ETIMEDOUT, "no process writes into the pipe", str(path))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON text. Raises `ValueError` for any other text, or one nested too deeply."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_MAX_DEPTH):
        children = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for items in children for child in items if isinstance(child, dict | list)]
    if level:
        raise ValueError("nested too deeply")
    return value
