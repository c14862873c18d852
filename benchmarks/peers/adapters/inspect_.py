"""inspect_ai: a task of samples with the `generate` solver. A second run retries the log of the first."""

from pathlib import Path

from inspect_ai import Task, eval, eval_retry, task  # noqa: A004
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import list_eval_logs
from inspect_ai.solver import generate
from job import read

job = read()


@task
def rewrite() -> Task:
    samples = [Sample(id=row["id"], input=row["prompt"]) for row in job.rows()]
    return Task(dataset=MemoryDataset(samples), solver=generate())


if __name__ == "__main__":  # a retry imports this file once more, for the task
    folder = str(Path(job.folder) / "logs")
    earlier = list_eval_logs(folder)
    if earlier:
        logs = eval_retry(earlier[0], log_dir=folder, display="none", max_connections=job.in_flight)
    else:
        logs = eval(
            rewrite(),
            model="openai-api/simulated/m",
            model_base_url=job.base_url,
            max_connections=job.in_flight,
            log_dir=folder,
            display="none",
        )
    job.write((str(sample.id), sample.output.completion) for sample in logs[0].samples or [])
