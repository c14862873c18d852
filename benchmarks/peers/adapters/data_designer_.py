"""NVIDIA data-designer: an LLM text column over a seed dataset. A second run resumes from its last row group."""

import logging

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner, ResumeMode
from job import read

BUFFER = 256  # rows a group: what a kill can cost; its default is 1,000

logging.disable(logging.INFO)
job = read()
rows = job.rows()
models = [
    dd.ModelConfig(
        alias="writer",
        model="m",
        provider="simulated",
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=job.in_flight),
        skip_health_check=True,
    )
]
builder = dd.DataDesignerConfigBuilder(model_configs=models)
builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame(rows)))
builder.add_column(dd.LLMTextColumnConfig(name="text", model_alias="writer", prompt="{{ prompt }}"))
designer = DataDesigner(
    artifact_path=job.folder,
    model_providers=[dd.ModelProvider(name="simulated", endpoint=job.base_url, api_key="none")],
)
designer.set_run_config(dd.RunConfig(buffer_size=BUFFER, otel_metrics_port=None))
result = designer.create(builder, num_records=len(rows), dataset_name="rewrite", resume=ResumeMode.IF_POSSIBLE)
found = result.load_dataset()
job.write(zip(found["id"].astype(str), found["text"], strict=True))
