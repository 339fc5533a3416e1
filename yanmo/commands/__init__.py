"""One file per verb: wiring only. `Settings` composes the blocks, `command` does the work, a function of the verb's own name is the
same for Python."""
