"""What is asked: problems, answers, behaviors, prompts, splits."""
