"""Text out of bytes, and text made whole: encodings, what was decoded wrongly once, and one form for the same letters.

Done here, before anybody signs; what was signed is never changed.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import chain

from services.datanet.files.found import Problem, Refused, Row, Source, chosen

PARAGRAPH, WHOLE = "paragraph", "whole"
_GUESS_FROM = 256 * 2**10  # bytes; more make no guess better
_GUESS_LEAST = 8  # bytes beyond ASCII; of fewer, any encoding makes some letters
_IN_USE = [
    "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "cp932", "euc_jp",
    "gb18030", "big5", "cp949",
]  # fmt: skip
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LETTER_OF_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_PLAIN = re.compile(r"[\t\n -~]*\Z")
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_NEW_PAGE = re.compile("[\x0b\x0c]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")  # which no record may have


def read(data: bytes, wanted: Collection[str]) -> Source:
    """Plain text: a paragraph a row, or the whole file as one."""
    way = chosen(wanted, (PARAGRAPH, WHOLE))
    text, encoding = decoded(data)
    return Source((PARAGRAPH, WHOLE), _whole(text) if way == WHOLE else _paragraphs(text), encoding)


def decoded(data: bytes) -> tuple[str, str]:
    """A file's text, with line feeds as line ends, and the encoding that it was read by.

    Raises `Refused`: ENCODING_MIXED, ENCODING_UNKNOWN.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _by_mark(data[len(mark) :], encoding)
    try:
        return _lines(data.decode()), "utf-8"
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    good = sum(1 for _ in _LETTER_OF_UTF8.finditer(data))
    if good and good >= len(re.findall(rb"[\x80-\xff]", _LETTER_OF_UTF8.sub(b"", data))):
        raise Refused(
            "ENCODING_MIXED", "most of the file is UTF-8, but not this line: save all of it as UTF-8", f"line {line}"
        )
    return _guessed(data)


def mended(text: str) -> tuple[str, tuple[str, ...]]:
    """A text as it was meant: letters that were decoded wrongly, composed letters, line ends, control characters.

    With it, what was done, in words: nothing for a text that stays as it is, white space at its ends apart.
    """
    text = _bare(text)
    if _PLAIN.match(text):
        return text, ()
    import ftfy

    # What a person may have meant is left alone: typographic quotes, wide letters, HTML's names of characters.
    quiet = {"uncurl_quotes": False, "fix_character_width": False, "unescape_html": False, "normalization": None}
    plain = ftfy.fix_text(text, ftfy.TextFixerConfig(explain=False, **quiet))  # type: ignore[arg-type]
    plain = _bare(_CONTROL.sub("", _NEW_PAGE.sub("\n", plain)))
    composed = _bare(unicodedata.normalize("NFC", plain))
    notes = ("letters mended",) if plain != _lines(text) else ()
    return composed, (*notes, *(("characters composed",) if composed != plain else ()))


def _bare(text: str) -> str:
    """Without white space at its ends, nor marks of a byte order."""
    return text.strip().strip("\ufeff").strip()


def _by_mark(data: bytes, encoding: str) -> tuple[str, str]:
    try:
        return _lines(data.decode(encoding)), encoding
    except UnicodeDecodeError as error:
        message = f"the file says that it is {encoding.upper()}, and is not at byte {error.start}: save it as UTF-8"
        raise Refused("ENCODING_UNKNOWN", message) from None


def _guessed(data: bytes) -> tuple[str, str]:
    encoding = _likeliest(data[:_GUESS_FROM])
    try:
        if encoding is not None:
            return _lines(data.decode(encoding)), encoding
    except UnicodeDecodeError:
        pass
    raise Refused("ENCODING_UNKNOWN", "the file is not UTF-8, and what else cannot be told: save it as UTF-8")


def _likeliest(data: bytes) -> str | None:
    """The encoding by which it reads best; none where several read as well, for wrong letters are quietly wrong."""
    from charset_normalizer import from_bytes

    if sum(byte > 0x7F for byte in data) < _GUESS_LEAST:
        return None
    matches = list(from_bytes(data, cp_isolation=_IN_USE))
    tied = [m for m in matches if (m.chaos, m.coherence) == (matches[0].chaos, matches[0].coherence)]
    encodings = {encoding for match in tied for encoding in match.could_be_from_charset}
    # Western letters also read as those of other countries, and are far more common; but Turkey's read as Iceland's.
    if "cp1252" in encodings and not set("ðþýÐÞÝ").intersection(data.decode("cp1252", "replace")):
        return "cp1252"
    return tied[0].encoding if len(tied) == 1 else None


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _whole(text: str) -> Iterator[Row | Problem]:
    if text.strip():
        yield Row("", {WHOLE: text})


def _paragraphs(text: str) -> Iterator[Row | Problem]:
    start, line = 0, 1
    for gap in chain(_BLANK_LINES.finditer(text), [None]):
        end = gap.start() if gap else len(text)
        paragraph = text[start:end]
        if paragraph.strip():
            yield Row(f"line {line + _blank_before(paragraph)}", {PARAGRAPH: paragraph})
        if gap:
            line += text.count("\n", start, gap.end())
            start = gap.end()


def _blank_before(paragraph: str) -> int:
    return paragraph.count("\n", 0, len(paragraph) - len(paragraph.lstrip()))
