"""One request on its way."""

from dataclasses import dataclass
from typing import Generic

from smile_async.engine.job import Request
from smile_async.engine.limits import Admission
from smile_async.engine.queue import Job
from smile_async.engine.task import Item


@dataclass(slots=True, eq=False)
class Attempt(Generic[Item]):
    """One request on its way. `number` counts the attempts of the run, over all its processes, from 1."""

    number: int
    job: Job[Item]
    request: Request
    admission: Admission
