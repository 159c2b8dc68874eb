"""How much memory a request keeps while it waits."""

import sys

import numpy as np
from pydantic import BaseModel

from vectordb.schemas import And, Equals


def measure_bytes(value: object) -> int:
    """Return about how many bytes `value`, a request or a part of one, keeps with all that is below it.

    What stands in it twice counts twice.
    """
    size = 0
    pending = [value]
    while pending:
        node = pending.pop()
        size += sys.getsizeof(node)
        if isinstance(node, str | int | float | None):
            continue
        if isinstance(node, np.ndarray):
            size += 0 if node.flags.owndata else node.nbytes  # what it owns is counted already
        elif isinstance(node, dict):
            pending.extend(node)
            pending.extend(node.values())
        elif isinstance(node, list | tuple):
            pending.extend(node)
        elif isinstance(node, BaseModel):
            pending.extend(node.__dict__.values())
        elif isinstance(node, Equals):
            pending.append(node.value)
        elif isinstance(node, And):
            pending.extend(node.parts)
    return size
