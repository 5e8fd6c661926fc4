"""Which source blocks the tiles of a process meet: what a scan would read if it read each block once."""

from __future__ import annotations

from typing import Any

_watches: list[BlocksMet] = []


class BlocksMet:
    """Notes every block that a read needs, kept ones included, until :meth:`stop`."""

    def __init__(self) -> None:
        from minescale.sources import handles
        from minescale.sources.windows import blocks

        self.distinct: dict[tuple[Any, ...], int] = {}
        """Compressed bytes by address, overview and block."""
        self.touched = self.touched_bytes = 0
        """As often as they are met."""
        self._read = read = handles.Image.read

        def noting(image: Any, window: Any, ahead: Any, budget: int, needed: Any, idle: Any, **options: Any) -> Any:
            for block in blocks(window, image.block_shape):
                if block not in idle:
                    cost = self.distinct[image.href, image.overview, block] = image.block_cost(*block)
                    self.touched_bytes += cost
                    self.touched += 1
            return read(image, window, ahead, budget, needed, idle, **options)

        handles.Image.read = noting  # type: ignore[method-assign]

    def stop(self) -> BlocksMet:
        from minescale.sources import handles

        handles.Image.read = self._read  # type: ignore[method-assign]
        return self

    @property
    def distinct_bytes(self) -> int:
        return sum(self.distinct.values())


def watch() -> None:
    """Begin to note in this process; for ``Client.run``, as :func:`met` is."""
    _watches.append(BlocksMet())


def met() -> dict[tuple[Any, ...], int]:
    """What this process has met since :func:`watch`, with which that ends."""
    return _watches.pop().stop().distinct
