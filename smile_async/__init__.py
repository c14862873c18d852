"""Turn single-turn QA corpora into validated multi-turn dialogue corpora, at the limit of the quota."""
