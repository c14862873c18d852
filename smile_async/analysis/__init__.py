"""A corpus measured: diversity, language transformation, topics, quality, figures and the report page."""
