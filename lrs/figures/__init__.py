"""The figures of the paper: functions from tidy data to a matplotlib figure. None reads a file or a model."""
