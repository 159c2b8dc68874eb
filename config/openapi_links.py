"""Links in the description: which calls take the ids that an answer gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# by the shape of an answer: the path parameters that it gives, and where in it they stand
GIVEN = {
    "ThreadRow": {"thread_id": "/id"},
    "ChatAnswer": {"thread_id": "/thread_id"},
    "CategoryRow": {"category_id": "/id"},
    "ChangedCategory": {"category_id": "/id"},
    "RunRow": {"run_id": "/id"},
    "DocumentRow": {"document_id": "/id"},
}
_IN_PATH = re.compile(r"{(\w+)}")


@dataclass(frozen=True, slots=True)
class Call:
    path: str
    description: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.description["operationId"])

    @property
    def path_parameters(self) -> set[str]:
        return set(_IN_PATH.findall(self.path))


def link_calls(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """To each answer that gives an id which its own call did not have, link the calls that take it."""
    calls = [
        Call(path, description)
        for path, of_path in result["paths"].items()
        for method, description in of_path.items()
        if method != "parameters"
    ]
    for call in calls:
        for response, given in _list_answers(call):
            links = {}
            for other in calls:
                taken = given.keys() & (other.path_parameters - call.path_parameters)
                if taken and other.path_parameters <= taken | call.path_parameters:
                    links[other.name] = _describe_link(call, other, given)
            if links:
                response["links"] = links
    return result


def _list_answers(call: Call) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The successful answers that give ids, and where in them each stands."""
    for status, response in call.description["responses"].items():
        reference = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
        given = GIVEN.get(reference.rpartition("/")[2])
        if status.startswith("2") and given is not None:
            yield response, {name: f"$response.body#{pointer}" for name, pointer in given.items()}


def _describe_link(call: Call, other: Call, given: dict[str, str]) -> dict[str, Any]:
    parameters = {
        name: f"$request.path.{name}" if name in call.path_parameters else given[name]
        for name in sorted(other.path_parameters)
    }
    return {"operationId": other.name, "parameters": parameters}
