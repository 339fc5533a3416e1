"""Training: the loop as a generator, optimisers, schedules, the state that a resumed run needs, and tracking.

It knows models and tasks by their protocols only; `fit.py` is its one caller."""
