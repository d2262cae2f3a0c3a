"""What each picture of a results page shows."""

# In this order; pictures of other names come last, by their name alone.
PICTURES = {
    "method": "the method: what is learned, and what is done with it",
    "assay": "what is known to be gained, and what each method recovers of it",
    "budget": "where it is lost, from what is known to be there to the method as released",
    "delta": "accuracy minus that of the unsteered model, with paired bootstrap intervals",
    "behaviors": "share of traces that show each behavior, by arm",
    "promoted": "which behaviors each arm promotes, and where it wins",
    "mediation": "how much of each arm's gain goes through each behavior",
    "trace_behaviors": "behaviors in the traces that the reward learns from",
    "reward_roc": "how well the reward tells right traces from wrong ones, on held-out problems",
    "reward_calibration": "rewards against how often the answer was right, on held-out problems",
    "reward_by_position": "how early in a trace the reward knows",
    "latents": "what the latents that weigh most in the reward go with, and what a causal push does to them",
    "words": "latents of behaviors, or of the words that open them",
    "reward_paths": "the reward along traces that steering repaired and broke",
    "transfer": "which reward carries over to which benchmark",
    "selection": "what was tried on validation problems, and what was chosen",
    "costs": "speed of every way to decode and steer",
    "cost_curves": "what a token's time depends on",
    "sweep": "what steps, step size, thresholds, layer and latents do, on validation problems",
    "power": "how large a headroom must be to be found, and how much of it is recovered",
    "frontier": "accuracy against tokens, beside choices among several samples",
    "paper_table1": "the paper's own numbers, with the intervals that their sample sizes imply",
    "paper_sweeps": "the paper's own gains, and what sweeps of settings that are worth nothing gain by chance",
}
