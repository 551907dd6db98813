"""Checks records before a question, for `openledger.verify`: whose they are, and that the prompt says what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from openledger.context import Context, ContextError


def check(
    context: Context, prompt: Sequence[int], encode: Callable[[str], Sequence[int]], roots: Mapping[str, str]
) -> str:
    """What was checked, in words.  Raises `ContextError`.

    encode: the base model's tokens of a text.  roots: hex, of snapshots that are known, by name.
    """
    context.check(prompt)
    context.check_tokens(prompt, encode)
    unknown = set()
    for placed in context.records:
        snapshot, root = placed.record.snapshot, placed.root.hex()
        if snapshot not in roots:
            unknown.add(f"{snapshot} with root {root}")
        elif roots[snapshot] != root:
            raise ContextError(f"{snapshot} has root {root} in the trace and {roots[snapshot]} in the model's manifest")
    yours = f"; that these stand on chain is yours to look: {', '.join(sorted(unknown))}" if unknown else ""
    return (
        f"the {len(context.records)} records before the question are what their contributors gave, each in its "
        f"snapshot, and the prompt says what they say{yours}"
    )
