"""Checks that no answer of an epoch was settled by one before it, back to the first.

Held is what tells this epoch's answers apart, however many came before: of those the receipts are read one by one.  Any
two epochs are compared by whoever checks the later one.
"""

from __future__ import annotations

from openledger.epoch.bundle import RECEIPTS, BadBundle, Bundle, Previous, open_bundle
from openledger.epoch.case import Case
from openledger.epoch.receipts import answer, stream
from openledger.epoch.report import NotReached, Wrong


def once(case: Case) -> str:
    """No answer comes again.

    Raises `NotReached`, which says how far was looked, where a bundle is not here, or is of another form: it may be no
    fault of this epoch's, and whoever pays an answer twice would withhold the one that shows it.
    """
    bundle, answers = case.given, case.answered
    newest = bundle.manifest.epoch
    if case.alone:
        return "whether an answer was settled before was not looked at"
    try:
        while (named := bundle.manifest.previous) is not None:
            last = named.epoch
            older = _before(bundle, named)
            _compare(newest, answers, older)
            bundle = older
        last, why = bundle.manifest.epoch - 1, "none is named"
    except BadBundle as error:
        why = str(error)
    found = _back_to(newest, bundle.manifest.epoch, len(answers))
    if last:
        raise NotReached(
            f"all bundles of before, and {found}; epoch {last} and those before it could not be looked at: {why}"
        )
    return found


def _before(bundle: Bundle, named: Previous) -> Bundle:
    """The bundle before.  Raises `BadBundle` where it cannot be read here, `Wrong` where another epoch's is named."""
    manifest = bundle.manifest
    if not named.bundle:
        raise BadBundle(f"epoch {manifest.epoch} names no bundle of it")
    older = open_bundle(bundle.folder, named.bundle)
    older.check(RECEIPTS)
    there = older.manifest
    found = (there.epoch, there.epoch, there.root, there.chain_id, there.distributor)
    if found != (named.epoch, manifest.epoch - 1, named.root, manifest.chain_id, manifest.distributor):
        raise Wrong(f"the bundle {older.digest} is not of epoch {manifest.epoch - 1}, as epoch {manifest.epoch} says")
    if not there.settlements:
        raise BadBundle("its bundle names no settlement")
    return older


def _compare(newest: int, answers: set[bytes], older: Bundle) -> None:
    epoch = older.manifest.epoch
    for number, document, _ in stream(older):
        if answer(document) in answers:
            again = f"was settled in epoch {epoch} (journal {number}), and is settled again in epoch {newest}"
            raise Wrong(f"{document['response']} {again}")


def _back_to(newest: int, oldest: int, count: int) -> str:
    if newest == oldest:
        return f"{count} answers were compared with no epoch before"
    epochs = f"epoch {oldest}" if oldest == newest - 1 else f"epochs {newest - 1} back to {oldest}"
    told = "by the bundles that are named (that those stood, the chain says)"
    return f"{told} none of {count} answers was settled before, in {epochs}"
