"""openledger.openlora.v1.OpenLoRAService, put together: messages in, verbs called, messages out."""

from __future__ import annotations

from openledger.openlora.v1 import openlora_pb2_grpc
from services.openlora import servicer_adapters, servicer_answers, servicer_traces
from services.openlora.desk import Desk
from services.openlora.servicer_adapters import AdapterMethods
from services.openlora.servicer_answers import AnswerMethods
from services.openlora.servicer_traces import TraceMethods

ACCESS = {**servicer_answers.ACCESS, **servicer_adapters.ACCESS, **servicer_traces.ACCESS}


class OpenLoRA(AnswerMethods, AdapterMethods, TraceMethods, openlora_pb2_grpc.OpenLoRAServiceServicer):
    """The servicer; one per process."""

    def __init__(self, desk: Desk) -> None:
        AnswerMethods.__init__(self, desk)
        AdapterMethods.__init__(self, desk)
        TraceMethods.__init__(self, desk)
