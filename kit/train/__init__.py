"""The training: a network, its schedule, the loop, its checkpoints."""
