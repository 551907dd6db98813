from services.attribution.store import METADATA
from services.kit.migrations import run

run(METADATA)
