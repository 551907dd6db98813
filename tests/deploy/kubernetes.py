"""What tests ask of rendered objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
WORKLOADS = frozenset({"StatefulSet", "Job", "Pod"})


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod of everything that runs."""
    for each in of_kind(objects, *WORKLOADS):
        pod = each if each["kind"] == "Pod" else each["spec"]["template"]
        yield f"{each['kind']}/{each['metadata']['name']}", {**pod, "of": each["kind"]}


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def component(each: Object) -> str:
    return each["metadata"]["labels"]["app.kubernetes.io/component"]
