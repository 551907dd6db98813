"""Pictures of tests: drawn here, saved as people save them, and with what cameras and authors write beside them."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin


def drawn(width: int = 400, height: int = 300, seed: int = 7) -> Image.Image:
    """Boxes and discs of many sizes, enough of them to be told apart."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), "gray")
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        left, top = random.uniform(-40, width), random.uniform(-40, height)
        box = (left, top, left + random.uniform(10, 120), top + random.uniform(10, 120))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return picture


def saved(image: Image.Image, kind: str = "JPEG", **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def with_xmp(image: Image.Image, kind: str, xmp: bytes) -> bytes:
    if kind != "PNG":
        return saved(image, kind, xmp=xmp)
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
    return saved(image, kind, pnginfo=texts)


def exif(image: Image.Image, *, artist: str = "", copyright_: str = "", comment: str = "", turned: int = 1) -> Any:
    """Of a photo that also says where it was taken."""
    found = image.getexif()
    found[0x0112] = turned
    for tag, text in ((0x013B, artist), (0x8298, copyright_), (0x010E, comment)):
        if text:
            found[tag] = text
    place = found.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (52.0, 31.0, 12.0), "E", (13.0, 24.0, 18.0)
    return found


def credentialed(image: bytes, label: str, entries: dict[str, Any], remote: str = "") -> bytes:
    """A JPEG with signed content credentials that make this assertion; or, with `remote`, that lie elsewhere."""
    import c2pa

    chain, key = _chain()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, key, None))
    manifest = {
        "claim_generator_info": [{"name": "tests", "version": "1"}],
        "format": "image/jpeg",
        "title": "a picture",
        "assertions": [{"label": label, "data": {"entries": entries}}],
    }
    out = io.BytesIO()
    with c2pa.Context.from_dict({"verify": {"verify_after_sign": False}}) as context:
        builder = c2pa.Builder(json.dumps(manifest), context=context)
        if remote:
            builder.set_no_embed()
            builder.set_remote_url(remote)
        builder.sign(signer, "image/jpeg", io.BytesIO(image), out)
    return out.getvalue()


def _chain() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(name: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)

    def certificate(name: str, key: Any, root_: bool) -> x509.Certificate:
        usage = x509.KeyUsage(not root_, False, False, False, False, root_, root_, False, False)
        made = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=root_, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )
        if not root_:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
        return made.sign(root, hashes.SHA256())

    pem = serialization.Encoding.PEM
    chain = b"".join(c.public_bytes(pem) for c in (certificate("leaf", leaf, False), certificate("root", root, True)))
    plain = serialization.NoEncryption()
    return chain, leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
