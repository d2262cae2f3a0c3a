"""What steering costs: every way to decode and steer, side by side in one run."""
