"""``python -m minescale``."""

from __future__ import annotations

from minescale.cli import main

if __name__ == "__main__":
    main(prog_name="python -m minescale")
