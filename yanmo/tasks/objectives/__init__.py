"""Pre-training objectives: tasks whose labels come from the text itself. One file each; the table stands in `tasks`."""
