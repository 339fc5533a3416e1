"""Text -> tokens -> batches: reading, cleaning, splitting, tokenising, batching. Knows nothing of models or tasks."""
