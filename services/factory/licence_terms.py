"""What licences say of models that are made from what they cover, as far as a machine can act on it.

The reading is the cautious one: a model counts as adapted from its training data and from its base model.  Whether the
law of a country sees it so is open; operators may say what licences mean that are not listed here (`LicenseRef-...`),
not what these mean.  What nobody has said is unknown.

Sources: the licences' texts; creativecommons.org/compatiblelicenses for CC; for the GPL family
gnu.org/licenses/gpl-faq.html (its matrix of compatibility) and gnu.org/licenses/license-list.html; opendatacommons.org;
cdla.dev.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CC = re.compile(r"CC-BY(?P<nc>-NC)?(?:-(?P<kind>SA|ND))?-(?P<version>1\.0|2\.0|2\.1|2\.5|3\.0|4\.0)(?:-[A-Z]+)?\Z")
_CC_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")


@dataclass(frozen=True)
class Terms:
    """What one licence asks."""

    derivatives: bool = True
    """Whether something made from it may be passed on."""
    commercial: bool = True
    attribution: bool = True
    results: frozenset[str] | None = None
    """Share-alike: the licences under which something made from it may be passed on.  None: any."""
    never_under: frozenset[str] = frozenset()
    """Share-alike licences of others whose works cannot take this in."""


PUBLIC_DOMAIN = Terms(attribution=False)
NOTICE = Terms()
"""Do as you like, and name whose it was."""

_V3 = ("GPL-3.0-or-later", "GPL-3.0-only", "AGPL-3.0-or-later", "AGPL-3.0-only")
_V2_ONLY, _V2 = ("GPL-2.0-only",), ("GPL-2.0-or-later", "GPL-2.0-only")
_LESSER_V2, _LESSER_V3 = ("LGPL-2.1-or-later", "LGPL-2.1-only"), ("LGPL-3.0-or-later", "LGPL-3.0-only")
_GNU = frozenset((*_LESSER_V2, *_LESSER_V3, *_V2, *_V3))

# By licence: what it may be passed on under.  GPL version 3 may be combined into an AGPL work (its section 13), the
# lesser licences into the greater ones (LGPL 2.1 section 3, LGPL 3 section 2), "or later" into what came later.
_SHARE_ALIKE: Mapping[str, tuple[str, ...]] = {
    "LGPL-2.1-only": ("LGPL-2.1-only", *_V2, *_V3),
    "LGPL-2.1-or-later": (*_LESSER_V2, *_LESSER_V3, *_V2, *_V3),
    "LGPL-3.0-only": ("LGPL-3.0-only", *_V3),
    "LGPL-3.0-or-later": (*_LESSER_V3, *_V3),
    "GPL-2.0-only": _V2_ONLY,
    "GPL-2.0-or-later": (*_V2, *_V3),
    "GPL-3.0-only": ("GPL-3.0-only", "AGPL-3.0-only"),
    "GPL-3.0-or-later": _V3,
    "AGPL-3.0-only": ("AGPL-3.0-only",),
    "AGPL-3.0-or-later": ("AGPL-3.0-or-later", "AGPL-3.0-only"),
    "MPL-2.0": ("MPL-2.0", *_LESSER_V2, *_LESSER_V3, *_V2, *_V3),
    "MPL-2.0-no-copyleft-exception": ("MPL-2.0-no-copyleft-exception",),
    "GFDL-1.2-only": ("GFDL-1.2-only",),
    "GFDL-1.2-or-later": ("GFDL-1.2-or-later", "GFDL-1.2-only", "GFDL-1.3-or-later", "GFDL-1.3-only"),
    "GFDL-1.3-only": ("GFDL-1.3-only",),
    "GFDL-1.3-or-later": ("GFDL-1.3-or-later", "GFDL-1.3-only"),
    "ODbL-1.0": ("ODbL-1.0",),
    "CDLA-Sharing-1.0": ("CDLA-Sharing-1.0",),
}
_PUBLIC_DOMAIN = (
    "0BSD", "CC-PDDC", "CC-PDM-1.0", "CC0-1.0", "DL-DE-ZERO-2.0", "MIT-0", "PDDL-1.0", "Unlicense", "WTFPL",
)  # fmt: skip
_NOTICE = (
    "AFL-3.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-2-Clause-Patent", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSL-1.0",
    "C-UDA-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "DL-DE-BY-2.0", "ISC", "MIT", "MulanPSL-2.0", "NCSA",
    "NLOD-1.0", "NLOD-2.0", "ODC-By-1.0", "OGL-Canada-2.0", "OGL-UK-1.0", "OGL-UK-2.0", "OGL-UK-3.0", "PostgreSQL",
    "Zlib", "etalab-2.0",
)  # fmt: skip
_KNOWN: dict[str, Terms] = {
    **dict.fromkeys(_PUBLIC_DOMAIN, PUBLIC_DOMAIN),
    **dict.fromkeys(_NOTICE, NOTICE),
    **{key: Terms(results=frozenset(results)) for key, results in _SHARE_ALIKE.items()},
    # Its patent clause is a further restriction to version 2 of the GPL, not to version 3.
    "Apache-2.0": Terms(never_under=frozenset((*_LESSER_V2, *_V2))),
    "BSD-4-Clause": Terms(never_under=_GNU),
}


def known(key: str) -> Terms | None:
    """The terms of an SPDX licence, or None where they are not known here."""
    return _KNOWN.get(key) or _creative_commons(key)


def own(*, derivatives: bool, commercial: bool, attribution: bool, share_alike: bool, key: str) -> Terms:
    """The terms of a licence that an operator describes."""
    return Terms(derivatives, commercial, attribution, frozenset({key}) if share_alike else None)


def _creative_commons(key: str) -> Terms | None:
    found = _CC.match(key)
    if found is None:
        return None
    commercial, version = found["nc"] is None, found["version"]
    if found["kind"] == "ND":
        return Terms(derivatives=False, commercial=commercial)
    if found["kind"] == "SA":
        return Terms(commercial=commercial, results=_share_alike(key, commercial=commercial, version=version))
    older = version != "4.0"  # version 4.0 alone is known to be compatible with the GPL family
    return Terms(commercial=commercial, never_under=_GNU if older else frozenset())


def _share_alike(key: str, *, commercial: bool, version: str) -> frozenset[str]:
    """Itself and, from version 2.0 on, its later versions; BY-SA 4.0 may also become GPL version 3."""
    kind = "CC-BY-SA" if commercial else "CC-BY-NC-SA"
    later = [f"{kind}-{v}" for v in _CC_VERSIONS if v >= version and version != "1.0"]
    gpl = ["GPL-3.0-only"] if key == "CC-BY-SA-4.0" else []
    return frozenset((key, *later, *gpl))
