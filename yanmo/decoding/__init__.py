"""Decoding: pure functions over a model's `decode`, `logits` and State. The loop, what it draws, beams, gaps, the text as it comes."""
