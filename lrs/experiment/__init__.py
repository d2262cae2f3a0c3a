"""What joins all: traces, evaluation, selection."""
