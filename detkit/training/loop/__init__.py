"""Training by gradient: the loop, optimizers, schedules, checkpoints, logs."""
