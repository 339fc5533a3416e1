"""Making a model smaller: fewer bits, fewer weights, a smaller pupil. Each says what it cost in size, speed and score."""
