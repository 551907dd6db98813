from services.kit.migrations import run
from services.ledger.store.tables import METADATA

run(METADATA)
