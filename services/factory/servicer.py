"""The Factory's gRPC API, put together: messages in, verbs called, messages out."""

from __future__ import annotations

from openledger.factory.v1 import factory_pb2_grpc
from services.factory import (
    servicer_combine,
    servicer_fine_tunes,
    servicer_private,
    servicer_progress,
    servicer_revisions,
    servicer_unlearn,
)
from services.factory.servicer_combine import CombineMethods
from services.factory.servicer_fine_tunes import FineTuneMethods
from services.factory.servicer_private import PrivateFileMethods
from services.factory.servicer_progress import ProgressMethods
from services.factory.servicer_revisions import RevisionMethods
from services.factory.servicer_unlearn import UnlearnMethods
from services.factory.workshop import Answers, Workshop

ACCESS = {
    **servicer_fine_tunes.ACCESS,
    **servicer_progress.ACCESS,
    **servicer_revisions.ACCESS,
    **servicer_private.ACCESS,
    **servicer_unlearn.ACCESS,
    **servicer_combine.ACCESS,
}


class FactoryServicer(
    FineTuneMethods,
    ProgressMethods,
    RevisionMethods,
    PrivateFileMethods,
    UnlearnMethods,
    CombineMethods,
    factory_pb2_grpc.FactoryServiceServicer,
):
    """openledger.factory.v1.FactoryService; one per process."""

    def __init__(self, workshop: Workshop) -> None:
        answers = Answers(workshop)
        FineTuneMethods.__init__(self, workshop, answers)
        ProgressMethods.__init__(self, workshop)
        RevisionMethods.__init__(self, workshop, answers)
        PrivateFileMethods.__init__(self, workshop)
        UnlearnMethods.__init__(self, workshop, answers)
        CombineMethods.__init__(self, workshop, answers)
