"""`python -m bench [SCRIPT...] [--quick]`: measure the figures; without names, all of them."""

from __future__ import annotations

import argparse
import importlib

SCRIPTS = (
    "attacks",
    "attribute",
    "demo",
    "duplicates",
    "errors",
    "lds",
    "ledger",
    "lora_op",
    "many",
    "peers",
    "personal_data",
    "records",
    "retraining",
    "retrieval",
    "serve",
    "spans",
    "threads",
    "train",
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scripts", nargs="*", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--quick", action="store_true", help="under a minute where a script can, same code path")
    parser.add_argument(
        "--setting", action="append", default=[], help="of lds and errors: one of their settings; may be repeated"
    )
    parser.add_argument("--library", action="append", default=[], help="of peers: one of theirs; may be repeated")
    parser.add_argument("--part", action="append", default=[], help="of serve: one of its parts; may be repeated")
    parser.add_argument(
        "--minutes", type=float, help="of attacks: begin nothing that would end later than that; run again to go on"
    )
    options = parser.parse_args()
    for name in options.scripts:
        more = {"settings": options.setting} if options.setting and name in ("errors", "lds") else {}
        more |= {"libraries": options.library} if options.library and name == "peers" else {}
        more |= {"parts": options.part} if options.part and name == "serve" else {}
        more |= {"minutes": options.minutes} if options.minutes is not None and name == "attacks" else {}
        importlib.import_module(f"bench.{name}").main(quick=options.quick, **more)


if __name__ == "__main__":
    main()
