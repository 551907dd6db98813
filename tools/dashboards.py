"""`python -m tools.dashboards` writes Grafana's dashboards, deploy/helm/openledger/dashboards/*.json.

It knows what is shown and how the file is made, not what metrics there are: a test compares them with the code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "deploy/helm/openledger/dashboards"
_ACROSS, _WIDE, _HIGH = 3, 8, 7
"""Panels beside one another, and a panel's size on Grafana's grid, which is 24 wide."""


class Panel(NamedTuple):
    """One graph: `queries` are PromQL with the legend of its lines; `unit` is Grafana's name of a unit."""

    title: str
    unit: str
    description: str
    queries: tuple[tuple[str, str], ...]


L, A, V, D, F = (f"openledger_{name}_" for name in ("ledger", "attribution", "openlora", "datanet", "factory"))
HITS = f"sum(rate({V}adapter_hits_total[5m]))"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Median and 99th percentile of a histogram over five minutes, of all instances together."""
    made = "histogram_quantile({}, sum by (le) (rate({}_bucket[5m])))"
    return tuple((made.format(q, metric), name) for q, name in (("0.5", "median"), ("0.99", "99 %")))


def rate(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """So many a second over five minutes, by a label."""
    return ((f"sum by ({by}) (rate({metric}[5m]))", f"{{{{{by}}}}}") if by else (f"sum(rate({metric}[5m]))", "all"),)


def calls(prefix: str) -> list[Panel]:
    """What every service has."""
    return [
        Panel("Calls", "reqps", "RPCs a second by what became of them", rate(prefix + "rpcs_total", "code")),
        Panel("How long calls take", "s", "RPCs, streams among them", quantiles(prefix + "rpc_seconds")),
        Panel("Background failures", "ops", "Tasks that fail", rate(prefix + "background_failures_total", "task")),
    ]


TRACES = Panel(
    "Traces waiting",
    "short",
    "Answers that are not attributed yet",
    ((f"sum by (replica) ({A}trace_lag)", "{{replica}}"),),
)
RECEIPTS = Panel("Receipts waiting", "short", "Issued, and not booked yet", ((f"max({L}receipts_behind)", "receipts"),))
LETTERS = Panel(
    "Dead letters", "ops", "Answers that nobody is paid for, by why", rate(A + "dead_letters_total", "reason")
)
ISSUED = Panel("Receipts", "ops", "Receipts issued a second", rate(A + "receipts_total"))
ANSWERS = Panel("Answers", "ops", "Answers a second, by what became of them", rate(V + "answers_total", "outcome"))
FIRST = Panel(
    "Time to first text", "s", "From a request to the first text of its answer", quantiles(V + "first_text_seconds")
)
MISSING = Panel(
    "Money that is not where it should be",
    "short",
    "Atomic units; 0 is right. Rounded above 2^53: the books have the exact amount",
    tuple(
        (f"max({L}{name}_open)", name) for name in ("chain_differs", "lapsed", "shortfall", "underfunded", "payer_debt")
    ),
)
BOOKS = Panel(
    "Books that are wrong",
    "short",
    "0 is right: no root is proposed else",
    ((f"max({L}journals_unbalanced)", "journals"), (f"max({L}books_wrong)", "books")),
)
EPOCHS = Panel(
    "Epochs and roots held up",
    "short",
    "0 is right",
    ((f"max({L}epochs_held_up)", "epochs"), (f"max({L}struck_roots_back)", "struck roots back")),
)
CHAIN = Panel(
    "Blocks behind",
    "short",
    "The ledger behind the chain, and the node behind what was read",
    ((f"max({L}chain_behind_blocks)", "ledger"), (f"max({L}node_behind_blocks)", "node")),
)
QUEUE = Panel(
    "Queue",
    "short",
    "Requests that wait, and answers being generated",
    ((f"sum({V}queued)", "waiting"), (f"sum({V}running)", "running")),
)

DASHBOARDS: dict[str, list[Panel]] = {
    "overview": [MISSING, BOOKS, EPOCHS, ANSWERS, FIRST, QUEUE, TRACES, RECEIPTS, CHAIN, ISSUED, LETTERS],
    "ledger": [
        MISSING,
        BOOKS,
        EPOCHS,
        CHAIN,
        RECEIPTS,
        Panel(
            "Escrow still to give",
            "short",
            "Atomic units spent and not redeemed yet",
            ((f"max({L}unredeemed_open)", "unredeemed"),),
        ),
        Panel("Transactions", "ops", "Ended, by how", rate(L + "transactions_total", "outcome")),
        Panel(
            "Transactions that wait",
            "short",
            "All, those that cost too much, and nonces that are missing",
            tuple(
                (f"max({L}{name})", name)
                for name in ("transactions_waiting", "transactions_priced_out", "nonces_missing")
            ),
        ),
        Panel("Who sends", "short", "1 at one of the ledgers on a database", ((f"{L}sending", "{{instance}}"),)),
        Panel("Sealing", "s", "How long an epoch's sealing holds the books", quantiles(L + "seal_seconds")),
        Panel("Bundles", "s", "How long an epoch's bundle takes", quantiles(L + "bundle_seconds")),
        *calls(L),
    ],
    "attribution": [
        TRACES,
        Panel(
            "Silence",
            "s",
            "Since each OpenLoRA was last heard of",
            ((f"max by (replica) ({A}replica_silent_seconds)", "{{replica}}"),),
        ),
        LETTERS,
        ISSUED,
        Panel("From answer to receipt", "s", "How long receipts take", quantiles(A + "receipt_delay_seconds")),
        Panel("From trace to receipt", "s", "How long scoring takes", quantiles(A + "scoring_seconds")),
        Panel("Cores that score", "short", "CPU seconds a second", rate(A + "scoring_cpu_seconds_total")),
        *calls(A),
    ],
    "openlora": [
        ANSWERS,
        FIRST,
        Panel("Time between tokens", "s", "As callers feel it", quantiles(V + "inter_token_seconds")),
        QUEUE,
        Panel(
            "Tokens",
            "ops",
            "A second, read and generated",
            ((f"sum(rate({V}tokens_in_total[5m]))", "read"), (f"sum(rate({V}tokens_out_total[5m]))", "generated")),
        ),
        Panel(
            "Traces waiting here",
            "short",
            "Questions are refused at MAX_TRACE_LAG",
            ((f"{V}trace_lag", "{{instance}}"),),
        ),
        Panel("Leases", "short", "Not given back to the ledger", ((f"sum({V}leases)", "leases"),)),
        Panel("Disk full", "bool", "Nothing is begun while it is", ((f"{V}disk_full", "{{instance}}"),)),
        *calls(V),
    ],
    "adapters": [
        Panel(
            "Tokens by adapter",
            "ops",
            "The ten with most of late",
            rate(V + "served_tokens_by_adapter_total", "adapter"),
        ),
        Panel(
            "Waiting by adapter",
            "short",
            "The ten most waited for",
            ((f"sum by (adapter) ({V}queued_by_adapter)", "{{adapter}}"),),
        ),
        Panel(
            "Waiting by payer",
            "short",
            "The ten that wait most",
            ((f"sum by (tenant) ({V}queued_by_tenant)", "{{tenant}}"),),
        ),
        Panel("Adapters by state", "short", "Where adapters are", ((f"sum by (state) ({V}adapters)", "{{state}}"),)),
        Panel(
            "Loads and evictions",
            "ops",
            "Adapters brought into memory, and those that made room",
            tuple((f"sum(rate({V}adapter_{name}_total[5m]))", name) for name in ("loads", "evictions")),
        ),
        Panel(
            "Hit rate",
            "percentunit",
            "Of what was asked for, what was in memory",
            (
                (
                    f"{HITS} / ({HITS} + sum(rate({V}adapter_loads_total[5m])))",
                    "hits",
                ),
            ),
        ),
    ],
    "datanet": [
        Panel("Records", "ops", "Sent, by what became of them", rate(D + "records_total", "outcome")),
        Panel(
            "Snapshots without anchor",
            "short",
            "Whose root is not on chain yet",
            ((f"max({D}snapshots_unanchored)", "snapshots"),),
        ),
        *calls(D),
    ],
    "factory": [
        Panel("Fine-tunes", "short", "That wait or run", ((f"max({F}fine_tunes_unfinished)", "fine-tunes"),)),
        Panel(
            "Revisions without registration",
            "short",
            "Not on chain yet",
            ((f"max({F}revisions_unregistered)", "revisions"),),
        ),
        *calls(F),
    ],
}


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    """In Grafana's schema, over whatever Prometheus is chosen."""
    return {
        "uid": f"openledger-{name}",
        "title": f"OpenLedger: {name}",
        "tags": ["openledger"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    row, column = divmod(number, _ACROSS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": {"x": column * _WIDE, "y": row * _HIGH, "w": _WIDE, "h": _HIGH},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": source, "expr": query, "legendFormat": legend}
            for place, (query, legend) in enumerate(panel.queries)
        ],
    }


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, panels in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(dashboard(name, panels), indent=1) + "\n")


if __name__ == "__main__":
    main()
