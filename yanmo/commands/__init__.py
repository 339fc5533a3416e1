"""One file per verb: wiring only. `Settings` composes the blocks, `command` does the work; where Python
has use for it, a function of the verb's own name does the same."""
