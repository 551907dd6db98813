"""Files as people have them, and as those send them who mean harm.  All are made here; none is kept."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

DOCX_TYPES = (
    b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    b'<Override PartName="/word/document.xml" ContentType='
    b'"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
DOCX_RELATIONS = (
    b'<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    b'<Relationship Id="r1" Target="word/document.xml" Type='
    b'"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>'
)


def pdf(pages: Sequence[str], bookmarks: Mapping[int, str] | None = None) -> bytes:
    """A PDF of these pages, each a line of text; bookmarks are titles by page, counted from 0."""
    bodies = [f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET".encode() if text else b"" for text in pages]
    return pdf_of([stream(body) for body in bodies], dict(bookmarks or {}))


def stream(body: bytes, head: bytes = b"") -> bytes:
    return b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(body), head, body)


def pdf_of(contents: Sequence[bytes], bookmarks: Mapping[int, str]) -> bytes:
    count = len(contents)
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(count))
    first = 4 + 2 * count
    marks = list(bookmarks.items())
    outline = f"/Outlines {first} 0 R" if marks else ""
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {outline} >>".encode(),
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, content in enumerate(contents):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * i} 0 R"
        objects += [f"{page} /Resources << /Font << /F1 3 0 R >> >> >>".encode(), content]
    if marks:
        objects.append(f"<< /First {first + 1} 0 R /Last {first + len(marks)} 0 R /Count {len(marks)} >>".encode())
    for i, (page, title) in enumerate(marks):
        follows = f"/Next {first + 2 + i} 0 R" if i + 1 < len(marks) else ""
        objects.append(f"<< /Title ({title}) /Parent {first} 0 R {follows} /Dest [{4 + 2 * page} 0 R /Fit] >>".encode())
    return pdf_objects(objects)


def pdf_objects(objects: Sequence[bytes], trailer: str = "") -> bytes:
    """A PDF of these objects, numbered from 1; the first is its catalog."""
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF".encode()
    return bytes(out)


def encrypted_pdf(text: str, password: str) -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf([text])))
    writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def pdf_that_unfolds(size: int, folds: int) -> bytes:
    """A page whose content is packed so many times over; it unfolds to `size` bytes."""
    body = b"BT /F1 12 Tf (x) Tj ET\n" + b" " * size
    for _ in range(folds):
        body = zlib.compress(body, 9)
    filters = b"/Filter [%s] " % (b"/FlateDecode " * folds)
    return pdf_of([stream(body, filters)], {})


def pdf_with_a_loop() -> bytes:
    """Pages whose tree holds itself."""
    return pdf_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R /Outlines 3 0 R >>",
            b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 /Parent 2 0 R >>",
            b"<< /First 4 0 R /Last 4 0 R /Count 1 >>",
            b"<< /Title (again) /Parent 3 0 R /Next 4 0 R /First 4 0 R /Dest [2 0 R /Fit] >>",
        ]
    )


def docx(blocks: Sequence[tuple[str, str] | list[list[str]]]) -> bytes:
    """A DOCX of paragraphs (style, text) and tables."""
    import docx as library

    document = library.Document()
    for block in blocks:
        if isinstance(block, tuple):
            document.add_paragraph(block[1], style=block[0])
            continue
        table = document.add_table(len(block), len(block[0]))
        for row, texts in zip(table.rows, block, strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def docx_of(document: bytes, more: Mapping[str, bytes] | None = None) -> bytes:
    """A DOCX whose text is this XML."""
    parts = {"[Content_Types].xml": DOCX_TYPES, "_rels/.rels": DOCX_RELATIONS, "word/document.xml": document}
    return archive({**parts, **(more or {})})


def archive(parts: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return out.getvalue()


def docx_body(*paragraphs: str, before: bytes = b"") -> bytes:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    inner = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    body = f'<w:document xmlns:w="{space}"><w:body>{inner}</w:body></w:document>'
    return b'<?xml version="1.0" encoding="UTF-8"?>' + before + body.encode()


def docx_of_laughs() -> bytes:
    """Entities that multiply."""
    lines = ['<!ENTITY a0 "ha">'] + [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)]
    return docx_of(docx_body("&a9;", before=f"<!DOCTYPE w [{''.join(lines)}]>".encode()))


def zip_bomb(size: int = 2**28) -> bytes:
    """A document of a few hundred kilobytes that says it unfolds to `size` bytes, and does."""
    return docx_of(docx_body("x"), {"word/media/a.xml": b"\x00" * size})


def png(width: int, height: int) -> bytes:
    """A PNG that says it has this size, and has next to no content."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(b"\x00\x00")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jsonl(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)
