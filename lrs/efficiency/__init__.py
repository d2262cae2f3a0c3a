"""Efficiency: tokens per second and memory of every way to decode and steer, measured side by side in one run."""
