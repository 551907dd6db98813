from services.kit.migrations import run
from services.openlora.store import METADATA

run(METADATA)
