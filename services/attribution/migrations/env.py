from services.attribution.store_audits import AUDIT
from services.kit.migrations import run

run(AUDIT.metadata)
