"""Statements about many rows at once: of few different lengths, so that each is compiled once and few are kept."""

from collections.abc import Iterable, Sequence


def rows(width: int, count: int) -> str:
    """Return ``(?,?),(?,?)...`` for at least `count` rows of `width` values; bind what `padded` returns."""
    row = f"({','.join('?' * width)})"
    return ",".join([row] * _length(count))


def padded(values: Iterable[object], width: int, count: int, *, filler: Sequence[object] | None = None) -> list[object]:
    """Return the values of `count` rows, one after the other, and as many more rows as `rows` has room for: of
    NULLs, or each like `filler`."""
    bound = list(values)
    more = _length(count) - count
    bound.extend([*filler] * more if filler is not None else [None] * (more * width))
    return bound


def _length(count: int) -> int:
    """Return the power of two that is `count` or the next above it."""
    return 1 << max(count - 1, 0).bit_length()
