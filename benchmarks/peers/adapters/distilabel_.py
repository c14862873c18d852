"""distilabel: a pipeline of loader and `TextGeneration`. A batch is as large as what is to be in flight."""

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from job import read

MAX_TOKENS = 2_048  # its default of 128 would cut every answer

if __name__ == "__main__":  # its steps are processes of their own
    job = read()
    rows = [{"id": row["id"], "instruction": row["prompt"]} for row in job.rows()]
    with Pipeline(name="rewrite", cache_dir=job.folder) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=job.in_flight)
        generate = TextGeneration(
            llm=OpenAILLM(
                model="m",
                base_url=job.base_url,
                api_key="none",
                generation_kwargs={"max_new_tokens": MAX_TOKENS},
            ),
            input_batch_size=job.in_flight,
        )
        load >> generate
    distiset = pipeline.run(use_cache=True)
    job.write((row["id"], row["generation"]) for row in distiset["default"]["train"] if row["generation"])
