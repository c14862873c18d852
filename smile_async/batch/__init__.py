"""Batches as another way through the same run: a file goes to OpenAI's Batch API, or to whoever works offline."""
