"""Training: from trajectories to rows, fine-tuning, evaluation, and a nano policy made from nothing."""
