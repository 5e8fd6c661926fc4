"""A measurement in a process of its own: fresh caches, its own memory and CPU time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_MARK = "RESULT "


def tell(result: Any) -> None:
    """In the child: hand the result to :func:`run`."""
    print(_MARK + json.dumps(result))


def run(script: str, *arguments: str) -> dict[str, Any]:
    """What a script tells; ends this process with the child's error where it tells nothing."""
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if not lines:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(lines[0][len(_MARK) :]))
