"""One tree of errors. Every message says what failed, what was got, what was expected and what to pass instead.

Each class carries the process exit code that the command line maps it to
(0 ok, 1 unexpected, 2 usage, 3 finished with failed tiles, 4 nothing matched,
5 remote unreachable, 130 interrupted).
"""

from __future__ import annotations


class MinescaleError(Exception):
    """Base of every error minescale raises on purpose.

    Parameters
    ----------
    what : what failed, one clause, naming the object (tile, scene, band, file).
    got, expected : the value met and the value that would have been right.
    fix : what the user can pass or do instead.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        got: object | None = None,
        expected: object | None = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.fix = fix
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [self.what.rstrip(".")]
        if self.got is not None:
            parts.append(f"got: {self.got}")
        if self.expected is not None:
            parts.append(f"expected: {self.expected}")
        if self.fix is not None:
            parts.append(f"instead: {self.fix}")
        return "\n  ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only fields do not survive pickling (worker -> driver) by default.
        return (_rebuild, (type(self), self.what, self.got, self.expected, self.fix))


def _rebuild(cls: type[MinescaleError], what: str, got: object, expected: object, fix: str | None) -> MinescaleError:
    return cls(what, got=got, expected=expected, fix=fix)


class UsageError(MinescaleError, ValueError):
    """A request that cannot be right: bad bbox, unknown band, conflicting options."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting with an unknown key or a value of the wrong kind."""


class ModelError(UsageError):
    """A model package that cannot be used: unknown bands, wrong resolution, broken checksum."""


class OutputMismatch(UsageError):
    """The output directory belongs to another run, or its mosaic does not fit the plan."""


class PlanTooLarge(UsageError, MemoryError):
    """A plan whose tiles need more memory, or whose graph has more tasks, than is allowed."""


class FinishedWithFailures(MinescaleError):
    """The run ended, but some tiles failed; the same command continues."""

    exit_code = 3


class NothingMatched(MinescaleError, LookupError):
    """The search was answered, and no scene matched."""

    exit_code = 4


class RemoteUnreachable(MinescaleError, ConnectionError):
    """A catalogue or object store did not answer."""

    exit_code = 5


class RadiometryError(MinescaleError):
    """A scene whose digital numbers cannot be turned into reflectance with certainty."""


class StoreError(MinescaleError, OSError):
    """The mosaic could not be written or read: full disk, read-only, broken chunk. The run can be resumed."""
