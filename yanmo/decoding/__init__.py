"""The decoding loop: pure functions over a model's `decode`, `logits` and State."""
