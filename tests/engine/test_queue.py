"""The queue of retries."""

from smile_async.engine.queue import Job, JobQueue


def job(ordinal: int) -> Job[str]:
    return Job(ordinal, f"id-{ordinal}", "item")


def drained(queue: JobQueue[str], now: float) -> list[int]:
    found = []
    while (next_one := queue.pop(now)) is not None:
        found.append(next_one.ordinal)
    return found


def test_ready_jobs_leave_in_the_order_in_which_they_came() -> None:
    queue = JobQueue[str]()
    for ordinal in (2, 0, 1):
        queue.push(job(ordinal))
    assert drained(queue, 0.0) == [2, 0, 1]


def test_delayed_jobs_leave_when_they_are_due_the_earliest_first_and_after_those_that_were_ready() -> None:
    queue = JobQueue[str]()
    queue.push(job(0), at=5.0)
    queue.push(job(1), at=3.0)
    queue.push(job(2))
    assert drained(queue, 2.9) == [2]
    queue.push(job(3))
    assert drained(queue, 3.0) == [3, 1]
    assert drained(queue, 99.0) == [0]


def test_jobs_due_at_the_same_time_leave_in_the_order_in_which_they_came() -> None:
    queue = JobQueue[str]()
    for ordinal in (3, 1, 2):
        queue.push(job(ordinal), at=1.0)
    assert drained(queue, 1.0) == [3, 1, 2]


def test_it_says_how_much_it_holds_and_when_the_next_is_due() -> None:
    queue = JobQueue[str]()
    assert (len(queue), queue.next_due) == (0, None)
    queue.push(job(0))
    queue.push(job(1), at=7.0)
    assert (len(queue), queue.next_due) == (2, 7.0)
    assert repr(queue) == "<JobQueue [1 ready, 1 later]>"


def test_a_job_evolves_into_a_new_one() -> None:
    first = job(0)
    assert (first.evolve(replies=1).replies, first.replies) == (1, 0)


def test_those_to_be_asked_alone_come_when_there_is_no_other_and_they_are_due() -> None:
    queue = JobQueue[str]()
    queue.push_alone(job(0), at=5.0)
    queue.push(job(1), at=9.0)
    assert repr(queue) == "<JobQueue [0 ready, 1 later, 1 alone]>"
    assert (len(queue), queue.next_due, queue.next_alone) == (2, 9.0, 5.0)
    assert queue.pop_alone(9.0) is None  # another is waiting
    assert drained(queue, 9.0) == [1]
    assert queue.pop_alone(4.9) is None
    assert queue.pop_alone(5.0) == job(0)


def test_those_to_be_asked_alone_can_be_called_back() -> None:
    queue = JobQueue[str]()
    queue.push_alone(job(0), at=5.0)
    queue.push_alone(job(1), at=3.0)
    queue.recall()
    assert (drained(queue, 0.0), queue.next_alone, len(queue)) == ([1, 0], None, 0)
