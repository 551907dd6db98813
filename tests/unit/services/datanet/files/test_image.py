"""Images: refused, cleaned, and known again."""

from __future__ import annotations

import io
import socket

import pytest
from PIL import Image, ImageOps, PngImagePlugin

from services.datanet.files import image, perceptual, provenance
from services.datanet.files.found import Refused
from services.datanet.files.kinds import Kind
from tests import hostile_files, pictures

DRAWN = pictures.drawn()
XMP = b"<x:xmpmeta><rdf:Description plus:DataMining='http://ns.useplus.org/ldf/vocab/%s'/></x:xmpmeta>"
GPS, SAME = 0x8825, 31


def reason(data: bytes, kind: Kind = Kind.JPEG) -> str:
    with pytest.raises(Refused) as caught:
        image.read(data, kind)
    return caught.value.problem.reason


@pytest.mark.parametrize(("name", "kind"), (("JPEG", Kind.JPEG), ("PNG", Kind.PNG), ("WEBP", Kind.WEBP)))
def test_a_clean_copy_is_upright_and_says_nothing(name, kind):
    about = pictures.exif(DRAWN, artist="Ada Lens", copyright_="(c) Ada Lens", comment="At home", turned=6)
    more = {"comment": b"hidden words"} if name == "JPEG" else {}
    data = pictures.saved(DRAWN, name, exif=about, xmp=b"<x>hidden words</x>", **more)
    row, picture = image.read(data, kind)
    assert row.texts == {"creator": "Ada Lens", "copyright": "(c) Ada Lens", "description": "At home"}
    assert (picture.width, picture.height, picture.size) == (DRAWN.height, DRAWN.width, len(data))
    clean = Image.open(io.BytesIO(picture.clean))
    assert clean.size == (picture.width, picture.height)
    assert dict(clean.getexif()) == {}
    assert not {"exif", "xmp", "comment", "icc_profile", "XML:com.adobe.xmp"} & set(clean.info)
    assert not any(word in picture.clean for word in (b"Ada", b"home", b"hidden", b"GPS"))


def test_what_can_be_seen_through_stays_so():
    clear = DRAWN.copy()
    clear.putalpha(Image.linear_gradient("L").resize(DRAWN.size))
    _, picture = image.read(pictures.saved(clear, "PNG"), Kind.PNG)
    assert Image.open(io.BytesIO(picture.clean)).mode == "RGBA"


@pytest.mark.parametrize("mode", ("L", "CMYK", "P", "1", "I;16"))
def test_colours_of_all_kinds_become_plain_ones(mode):
    kind, name = (Kind.JPEG, "JPEG") if mode == "CMYK" else (Kind.PNG, "PNG")
    plain = DRAWN.convert("I") if mode == "I;16" else DRAWN
    picture = image.read(pictures.saved(plain.convert(mode), name), kind)[1]
    assert Image.open(io.BytesIO(picture.clean)).mode == "RGB"


def test_what_is_no_picture_to_take_is_told(monkeypatch):
    data = pictures.saved(DRAWN, "PNG")
    assert reason(hostile_files.png(1, 2 * 10**9), Kind.PNG) == "IMAGE_TOO_LARGE"
    assert reason(hostile_files.png(31_000, 1), Kind.PNG) == "IMAGE_TOO_LARGE"
    assert reason(hostile_files.png(8000, 7000), Kind.PNG) == "IMAGE_TOO_LARGE"
    assert reason(hostile_files.png(100, 100), Kind.PNG) == "IMAGE_UNREADABLE"
    assert reason(data[: len(data) // 2], Kind.PNG) == "IMAGE_UNREADABLE"
    assert reason(data, Kind.JPEG) == "IMAGE_UNREADABLE"
    other = pictures.drawn(seed=8)
    assert reason(pictures.saved(DRAWN, "WEBP", save_all=True, append_images=[other]), Kind.WEBP) == "IMAGE_MOVES"
    assert reason(pictures.saved(DRAWN, "PNG", save_all=True, append_images=[other]), Kind.PNG) == "IMAGE_MOVES"


@pytest.mark.parametrize(("label", "prefix"), (("cawg.training-mining", "cawg"), ("c2pa.training-mining", "c2pa")))
@pytest.mark.parametrize("entry", ("ai_training", "ai_generative_training"))
@pytest.mark.parametrize(("use", "taken"), (("notAllowed", False), ("constrained", False), ("allowed", True)))
def test_credentials_that_forbid_training_are_obeyed(label, prefix, entry, use, taken):
    entries = {f"{prefix}.{entry}": {"use": use}, f"{prefix}.data_mining": {"use": "notAllowed"}}
    data = pictures.credentialed(pictures.saved(DRAWN), label, entries)
    if taken:
        assert image.read(data, Kind.JPEG)[1].clean.count(b"c2pa") == 0
    else:
        assert reason(data) == "TRAINING_FORBIDDEN"


def test_a_signature_that_does_not_hold_forbids_all_the_same():
    entries = {"cawg.ai_training": {"use": "notAllowed"}}
    data = bytearray(pictures.credentialed(pictures.saved(DRAWN), "cawg.training-mining", entries))
    data[-1000] ^= 1  # a pixel, which the signature is about
    assert reason(bytes(data)) in {"TRAINING_FORBIDDEN", "IMAGE_UNREADABLE"}


def test_credentials_that_cannot_be_read_may_forbid():
    data = bytearray(pictures.credentialed(pictures.saved(DRAWN), "cawg.training-mining", {}))
    start = data.find(b"training-mining")
    data[start + 40 : start + 400] = bytes(360)
    assert reason(bytes(data)) == "PROVENANCE_UNREADABLE"


def test_credentials_kept_elsewhere_are_not_fetched_and_may_forbid():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        where = f"http://127.0.0.1:{server.getsockname()[1]}/manifest"
        data = pictures.credentialed(pictures.saved(DRAWN), "cawg.training-mining", {}, remote=where)
        assert reason(data) == "PROVENANCE_UNREADABLE"
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "word", (b"DMI-PROHIBITED", b"DMI-PROHIBITED-GENAIMLTRAINING", b"DMI-PROHIBITED-SEECONSTRAINT")
)
@pytest.mark.parametrize(("name", "kind"), (("JPEG", Kind.JPEG), ("PNG", Kind.PNG), ("WEBP", Kind.WEBP)))
def test_xmp_that_forbids_training_is_obeyed(word, name, kind):
    assert reason(pictures.with_xmp(DRAWN, name, XMP % word), kind) == "TRAINING_FORBIDDEN"
    assert image.read(pictures.with_xmp(DRAWN, name, XMP % b"DMI-ALLOWED"), kind)


def test_words_that_forbid_training_are_obeyed():
    for text in ("noai", "Please: NoImageAI", "no-ai, thanks"):
        assert reason(pictures.saved(DRAWN, exif=pictures.exif(DRAWN, comment=text))) == "TRAINING_FORBIDDEN"
        assert reason(pictures.saved(DRAWN, comment=text.encode())) == "TRAINING_FORBIDDEN"
        packed = PngImagePlugin.PngInfo()
        packed.add_text("Comment", text, zip=True)
        assert reason(pictures.saved(DRAWN, "PNG", pnginfo=packed), Kind.PNG) == "TRAINING_FORBIDDEN"
    for text in ("Hanoain", "a noair", "no, ai"):
        assert image.read(pictures.saved(DRAWN, exif=pictures.exif(DRAWN, comment=text)), Kind.JPEG)


def test_a_word_among_pixels_is_none():
    provenance.check(pictures.saved(DRAWN) + b" noai ", Kind.JPEG, [])


def bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def nearest(changed: Image.Image, codes: perceptual.Codes) -> int:
    """Fewest differing bits of a changed picture's first code and any of the other's."""
    first = perceptual.codes(changed).pdq[0]
    return min(bits(first, code) for code in (*codes.pdq, *codes.crops))


def jpeg30(picture: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(pictures.saved(picture, quality=30)))


CHANGES = {
    "saved anew": jpeg30,
    "smaller": lambda picture: picture.resize((130, 97)),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned and mirrored": lambda picture: ImageOps.mirror(picture.transpose(Image.Transpose.ROTATE_270)),
    "cut at the right": lambda picture: picture.crop((0, 0, picture.width * 9 // 10, picture.height * 9 // 10)),
    "cut around": lambda picture: picture.crop((50, 37, 350, 262)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_known_again(change):
    assert nearest(CHANGES[change](DRAWN), perceptual.codes(DRAWN)) <= SAME


def test_another_picture_is_another_one():
    codes = perceptual.codes(DRAWN)
    for seed in range(20, 26):
        other = pictures.drawn(seed=seed)
        assert nearest(other, codes) > 2 * SAME
        assert bits(perceptual.phash(other), codes.phash) > 8


def test_codes_have_their_lengths_and_repeat():
    codes = perceptual.codes(DRAWN)
    assert ([len(code) for code in codes.pdq], len(codes.phash), len(codes.crops)) == ([32] * 8, 8, 27)
    assert perceptual.codes(DRAWN) == codes
    assert bits(perceptual.phash(jpeg30(DRAWN)), codes.phash) <= 8


@pytest.mark.parametrize(
    "picture", (Image.new("RGB", (64, 64), "red"), Image.new("RGB", (1, 1)), Image.new("RGB", (3000, 2)))
)
def test_of_a_picture_of_nothing_there_is_nothing_to_compare(picture):
    codes = perceptual.codes(picture)
    assert (codes.pdq, codes.crops, len(codes.phash)) == ((), (), 8)
