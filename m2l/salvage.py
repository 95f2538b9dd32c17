"""Reading a damaged store: every row that is whole, whatever has become of the tree that leads to it.

SQLite keeps rows in pages, reached through a tree of pages, and gives up a table where the
tree is broken. Here each page is read by itself, in the file and in its write-ahead log,
and every cell that decodes to a row with a right checksum is taken. No count, type or
pointer of the tree is trusted, so that a flipped bit loses at most the row that it is in.
The layout is that of SQLite's file format (sqlite.org/fileformat2.html, sections 1.6, 2 and 4).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from m2l.store_tables import GUARDED, row_sound

Row = tuple[object, ...]

_PAGE_SIZES = tuple(2**power for power in range(9, 17))
_DATABASE_HEADER = 100
_LOG_HEADER, _FRAME_HEADER = 32, 24
_INTERIOR, _LEAF = 12, 8
_WRONG_POINTERS = 3
"""So many pointers to no place in a row are taken for the end of a page's list of cells."""

_TABLES = {count + 1: name for name, count in GUARDED.items()} | {4: "completions"}
_ALSO = {4: "roots"}


def rows(path: Path) -> dict[str, list[Row]]:
    """Return the whole rows of a store's file and its log, by table; of two with one key, the one written later.

    The page size is the one by which most rows are whole: the header may be damaged, too.
    """
    data = path.read_bytes()
    log = path.with_name(f"{path.name}-wal")
    logged = log.read_bytes() if log.is_file() else b""
    found = max((_rows(data, logged, size) for size in _PAGE_SIZES), key=lambda by: sum(map(len, by.values())))
    return {table: list(listed.values()) for table, listed in found.items()}


def _rows(data: bytes, log: bytes, size: int) -> dict[str, dict[object, Row]]:
    result: dict[str, dict[object, Row]] = {name: {} for name in ("completions", *GUARDED)}
    file = [data[start : start + size] for start in range(0, len(data) - size + 1, size)]
    step = size + _FRAME_HEADER
    frames = [log[start + _FRAME_HEADER : start + step] for start in range(_LOG_HEADER, len(log) - step + 1, step)]
    numbers = [struct.unpack_from(">I", log, _LOG_HEADER + index * step)[0] for index in range(len(frames))]
    pages = dict(enumerate(file, start=1)) | dict(zip(numbers, frames, strict=True))
    for number, page in [*enumerate(file, start=1), *zip(numbers, frames, strict=True)]:
        for table, row in _page(page, _DATABASE_HEADER if number == 1 else 0, pages):
            result[table][row if table == "runs" else row[0]] = row
    return result


def _page(page: bytes, start: int, pages: dict[int, bytes]) -> Iterator[tuple[str, Row]]:
    """Yield the whole rows of a page, tried as each kind of page that holds rows."""
    for header in (_LEAF, _INTERIOR):
        wrong = 0
        for at in range(start + header, len(page) - 1, 2):
            cell = int.from_bytes(page[at : at + 2])
            wrong = 0 if at < cell < len(page) - 3 else wrong + 1
            if wrong > _WRONG_POINTERS:
                break
            for is_table in (False, True):
                found = _cell(page, cell + (4 if header == _INTERIOR else 0), pages, is_table=is_table)
                if found is not None:
                    yield found


def _cell(page: bytes, at: int, pages: dict[int, bytes], *, is_table: bool) -> tuple[str, Row] | None:
    try:
        size, at = _varint(page, at)
        number, at = _varint(page, at) if is_table else (0, at)
        values = _record(_payload(page, at, size, pages, is_table=is_table))
    except (IndexError, KeyError, ValueError, struct.error):
        return None
    if is_table and values and values[0] is None:
        values = (number, *values[1:])
    for table in {_TABLES.get(len(values)), _ALSO.get(len(values))} - {None}:
        if table is not None and row_sound(table, values):
            return table, values
    return None


def _payload(page: bytes, at: int, size: int, pages: dict[int, bytes], *, is_table: bool) -> bytes:
    """Return the bytes of a cell, those on overflow pages too; raises KeyError or IndexError where the chain breaks."""
    usable = len(page)
    if size > len(pages) * usable:
        raise IndexError(size)
    least = (usable - 12) * 32 // 255 - 23
    most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
    if size <= most:
        here = size
    else:
        here = least + (size - least) % (usable - 4)
        here = here if here <= most else least
    parts, left = [page[at : at + here]], size - here
    following = int.from_bytes(page[at + here : at + here + 4]) if left else 0
    while left > 0:
        more = pages[following]
        parts.append(more[4 : 4 + min(left, usable - 4)])
        left -= usable - 4
        following = int.from_bytes(more[:4])
    payload = b"".join(parts)
    if len(payload) != size:
        raise IndexError(size)
    return payload


def _record(payload: bytes) -> Row:
    """Decode a record (section 2.1 of the format); raises ValueError if its parts do not fill it."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[object] = []
    at = end
    for kind in kinds:
        width = (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind]
        data = payload[at : at + width]
        at += width
        if kind >= 12:
            values.append(data.decode() if kind % 2 else data)
        elif kind in (0, 8, 9):
            values.append({0: None, 8: 0, 9: 1}[kind])
        else:
            values.append(struct.unpack(">d", data)[0] if kind == 7 else int.from_bytes(data, signed=True))
    if at != len(payload):
        raise ValueError(at)
    return tuple(values)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        byte = data[at + index]
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError(at)
