"""Images: what they say of themselves, a clean copy without it, and by what they are known again.

A clean copy is upright, in sRGB, encoded anew, and has no metadata: neither where the photo was taken nor with what.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from services.datanet.files import limits as most
from services.datanet.files import perceptual, provenance
from services.datanet.files.found import Refused, Row
from services.datanet.files.kinds import Kind
from services.datanet.files.parsed import Picture

CREATOR, COPYRIGHT, DESCRIPTION = "creator", "copyright", "description"
PARTS = (CREATOR, COPYRIGHT, DESCRIPTION)
_EXIF = {CREATOR: 0x013B, COPYRIGHT: 0x8298, DESCRIPTION: 0x010E}
_IPTC = {CREATOR: (2, 80), COPYRIGHT: (2, 116), DESCRIPTION: (2, 120)}
_NO_TEXT = frozenset({"exif", "icc_profile", "photoshop"})
_LONGEST = 2000  # characters of what an image says of itself
_FORMATS = {Kind.JPEG: "JPEG", Kind.PNG: "PNG", Kind.WEBP: "WEBP"}
_SAVED = {
    Kind.JPEG: {"quality": 95, "subsampling": 0},
    Kind.PNG: {},
    Kind.WEBP: {"quality": 95, "method": 4},
}


def read(data: bytes, kind: Kind) -> tuple[Row, Picture]:
    """What it says of itself, and what it is.

    Raises `Refused`: IMAGE_TOO_LARGE, IMAGE_MOVES, IMAGE_UNREADABLE, and as `provenance.check` does.
    """
    image = _opened(data, kind)
    upright = _upright(image, kind)
    texts = dict(_says(image))
    provenance.check(data, kind, [*_words(image), *(text.encode() for text in texts.values())])
    clean = _saved(upright, kind)
    found = perceptual.codes(upright.convert("RGB"))
    return Row("", texts), Picture(
        media_type=kind.value,
        width=upright.width,
        height=upright.height,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        clean_sha256=hashlib.sha256(clean).hexdigest(),
        pdq=found.pdq,
        crops=found.crops,
        phash=found.phash,
        clean=clean,
    )


def _opened(data: bytes, kind: Kind) -> Any:
    """Its head alone is read."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # it warns first; we look ourselves, at the head alone
    try:
        image = Image.open(io.BytesIO(data), formats=[_FORMATS[kind]])
        frames = 1 if kind is Kind.JPEG else getattr(image, "n_frames", 1)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - of what anybody sent, it raises anything
        raise _unreadable(error) from None
    if image.width * image.height > most.PIXELS or max(image.size) > most.IMAGE_SIDE:
        raise _too_large(f"{image.width} x {image.height}")
    if frames > 1:
        raise Refused("IMAGE_MOVES", f"the image has {frames} frames: give one of them")
    return image


def _upright(image: Any, kind: Kind) -> Any:
    """Its pixels as they are meant to be seen."""
    from PIL import ImageOps

    try:
        image.load()
        turned = ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
        clear = kind is not Kind.JPEG and turned.has_transparency_data
        plain = turned.convert("RGBA" if clear else "RGB")
        return _in_srgb(plain, profile) if profile and turned.mode in {"RGB", "RGBA"} else plain
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreadable(error) from None


def _in_srgb(image: Any, profile: bytes) -> Any:
    from PIL import ImageCms

    with suppress(ImageCms.PyCMSError, OSError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=image.mode)
        return changed or image
    return image  # of a profile that says nothing, the numbers are taken as they are


def _saved(image: Any, kind: Kind) -> bytes:
    image.info = {}  # in which comments and profiles would go along
    out = io.BytesIO()
    image.save(out, _FORMATS[kind], **_SAVED[kind])
    return out.getvalue()


def _says(image: Any) -> Iterator[tuple[str, str]]:
    """Part and text, of EXIF and where that says nothing of IPTC."""
    from PIL import IptcImagePlugin

    exif: dict[int, Any] = {}
    iptc: dict[tuple[int, int], Any] = {}
    with suppress(Exception):  # metadata that cannot be read suggests nothing
        exif = dict(image.getexif())
    with suppress(Exception):
        iptc = IptcImagePlugin.getiptcinfo(image) or {}
    for part in PARTS:
        text = _text(exif.get(_EXIF[part])) or _text(iptc.get(_IPTC[part]))
        if text:
            yield part, text


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value)))[:_LONGEST]
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    return value.strip("\x00 ")[:_LONGEST] if isinstance(value, str) else ""


def _words(image: Any) -> Iterator[bytes]:
    """Texts beside the pixels: comments, XMP, EXIF.  Not what is no text, in which any word may stand by chance."""
    for name, value in image.info.items():
        if name not in _NO_TEXT and isinstance(value, bytes | str):
            yield value if isinstance(value, bytes) else value.encode(errors="replace")
    with suppress(Exception):  # as above
        exif = image.getexif()
        for value in (*exif.values(), *exif.get_ifd(0x8769).values()):
            if isinstance(value, bytes | str) and len(value) < _LONGEST:
                yield value if isinstance(value, bytes) else value.encode(errors="replace")


def _too_large(size: str) -> Refused:
    message = (
        f"the image has {size} pixels; at most {most.PIXELS} are taken, and {most.IMAGE_SIDE} a side: scale it down"
    )
    return Refused("IMAGE_TOO_LARGE", message)


def _unreadable(error: Exception) -> Refused:
    return Refused("IMAGE_UNREADABLE", f"the image cannot be read ({type(error).__name__}): save it anew")
