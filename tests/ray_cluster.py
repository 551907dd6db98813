"""A Ray cluster for tests: two nodes of one core each, on this machine's loopback, gone when the tests are over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import psutil

from tests.ports import six_free_ports

# Read when Ray is imported: it tells nobody, and takes loopback for this machine's address.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class TwoNodes:
    """The cluster; `address` for those on a node, `client` for those who are not."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster, port = Cluster(shutdown_at_exit=True), six_free_ports()
        self._processes: dict[int, psutil.Process] = {}
        # Ray Client's server forks for each client, and gRPC's handlers of forks kill a child now and then.
        with patch.dict(os.environ, {"GRPC_ENABLE_FORK_SUPPORT": "0"}):
            self.add_node(ray_client_server_port=port)
        self.add_node()
        self.address, self.client = self._cluster.address, f"ray://127.0.0.1:{port}"

    def add_node(self, **options: Any) -> Any:
        return self._cluster.add_node(
            num_cpus=1,
            object_store_memory=80 * 2**20,
            node_ip_address="127.0.0.1",
            include_dashboard=False,
            **options,
        )

    def lose(self, node: Any) -> None:
        """As when its machine loses power."""
        self._note(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        """End it, and wait until every one of its processes has ended."""
        for node in (self._cluster.head_node, *self._cluster.worker_nodes):
            self._note(node)
        self._cluster.shutdown()
        _, left = psutil.wait_procs(self._processes.values(), timeout=10)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _note(self, node: Any) -> None:
        for process in (info.process for infos in node.all_processes.values() for info in infos):
            with suppress(psutil.NoSuchProcess):
                own = psutil.Process(process.pid)
                self._processes |= {p.pid: p for p in (own, *own.children(recursive=True))}


def raylet(node: Any) -> str:
    """The process id of a node's own process, as its workers find it in RAY_RAYLET_PID."""
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET

    [process] = node.all_processes[PROCESS_TYPE_RAYLET]
    return str(process.process.pid)


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    nodes = TwoNodes()
    try:
        yield nodes
    finally:
        nodes.stop()
