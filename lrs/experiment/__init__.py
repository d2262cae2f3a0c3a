"""What joins all: traces, prompting, evaluation, signals, selection."""
