"""`python -m tests.vanishing_clients WHERE TOKEN PROMPT COUNT`: so many clients, each on a connection of its own.

Each asks once, hears the beginning of its answer, and reads no more.  Says `ready` when all have; then it waits to be
killed or stopped.
"""

from __future__ import annotations

import asyncio
import sys
import uuid

import grpc

from openledger.openlora.v1 import openlora_pb2, openlora_pb2_grpc

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


async def ask(where: str, token: str, prompt: str) -> object:
    channel = grpc.aio.insecure_channel(where, options=OWN_CONNECTION)
    request = openlora_pb2.GenerateRequest(
        model="base", prompt=prompt, sampling=openlora_pb2.Sampling(max_tokens=50), request_id=str(uuid.uuid4())
    )
    call = openlora_pb2_grpc.OpenLoRAServiceStub(channel).Generate(
        request, metadata=(("authorization", f"Bearer {token}"),), timeout=600
    )
    await call.read()
    return channel, call


async def main(where: str, token: str, prompt: str, count: int) -> None:
    kept = await asyncio.gather(*(ask(where, token, f"{prompt} {number}") for number in range(count)))
    print("ready", flush=True)
    await asyncio.sleep(600)
    del kept


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
