"""The method written from its equations: one problem, one token at a time, no cache, nothing shared with `lrs`.

Everything is recomputed from the whole sequence at every token. Slow, and meant to be: the fast code is compared
with it token for token and latent for latent.
"""

import math
from dataclasses import dataclass, field

import torch


def naive_gate(reward, confidence, reward_threshold, confidence_threshold):
    """Steer if r < tau_r, or if r >= tau_r and c < tau_c."""
    if reward < reward_threshold:
        return True
    return bool(reward >= reward_threshold and confidence < confidence_threshold)


def naive_signal(signal, distributions, lots):
    """What the gate's second clause reads of the newest token, of the distributions that all came from so far."""
    newest = distributions[-1]
    if signal == "lot":
        return float(lots[len(distributions) - 1])
    if signal == "confidence":
        return newest.max().item()
    if signal == "stability" and len(distributions) > 1:
        before = distributions[-2]
        middle = (newest + before) / 2
        divergence = sum((p * (p / middle).log()).sum().item() / 2 for p in (newest, before))
    else:
        divergence = 0.0
    return math.exp(-divergence + (newest * newest.log()).sum().item())


def naive_reward_logit(reward_model, past, latent):
    """The reward logit of `latent`, given the steered latents before it; the whole sequence goes through forward."""
    if reward_model.config.variant != "history":
        return reward_model(latent[None, None])[0, 0]
    return reward_model(torch.stack([*past, latent])[None])[0, -1]


def naive_ascent(reward_model, past, latent, num_steps, step_size):
    """K times: z <- z + alpha * g / ||g||, g the gradient of the reward logit with respect to z; of a potential, g."""
    z = latent.clone()
    for _ in range(num_steps):
        z = z.detach().requires_grad_(True)
        naive_reward_logit(reward_model, past, z).backward()
        length = 1 if reward_model.config.variant == "potential" else torch.sqrt((z.grad**2).sum())
        z = (z + step_size * z.grad / length).detach()
    return z


@dataclass
class NaiveTrace:
    """What the oracle did: token ids; for each processed token its latent, reward and whether it was steered; and by
    position the residual stream after steering."""

    token_ids: list = field(default_factory=list)
    latents: list = field(default_factory=list)
    rewards: list = field(default_factory=list)
    steered: list = field(default_factory=list)
    written: dict = field(default_factory=dict)


def naive_generate(model, prompt, end_ids, max_new_tokens, steering=None, lots=None, turn_before=None):
    """Greedy steered generation of one prompt; `lots`: what a gate by lot reads of each token; `turn_before`: the trace
    with which the prompt begins, whose tokens stay as they were steered."""
    layers = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    trace = NaiveTrace(written=dict(turn_before.written) if turn_before else {})
    written = trace.written  # put back at every recomputation
    distributions = []

    def hook(module, inputs, output):
        output = output.clone()
        for position, hidden in written.items():
            output[0, position] = hidden
        newest = output.shape[1] - 1
        if trace.token_ids and newest not in written:
            with torch.enable_grad():
                output[0, newest] = written[newest] = steer_one(output[0, newest].clone())
        return output

    def steer_one(hidden):
        z = steering.dictionary.encode(hidden[None])[0]
        past = trace.latents
        reward = torch.sigmoid(naive_reward_logit(steering.reward, past, z)).item()
        sure = naive_signal(steering.gate.signal, distributions, lots)
        steered = naive_gate(reward, sure, steering.gate.reward_threshold, steering.gate.confidence_threshold)
        moved = z
        if steered:
            moved = naive_ascent(steering.reward, past, z, steering.ascent.num_steps, steering.ascent.step_size)
            hidden = hidden + ((moved - z) @ steering.dictionary.W_dec) / steering.dictionary.input_scale
        trace.latents.append(moved)
        trace.rewards.append(reward)
        trace.steered.append(steered)
        return hidden.detach()

    handle = layers[steering.layer].register_forward_hook(hook) if steering else None
    try:
        while True:
            with torch.no_grad():
                ids = torch.tensor([prompt + trace.token_ids], device=model.device)
                logits = model(ids, use_cache=False).logits[0, -1]
            distributions.append(torch.softmax(logits, dim=-1))
            token = int(logits.argmax())
            trace.token_ids.append(token)
            if token in end_ids or len(trace.token_ids) == max_new_tokens:
                return trace
    finally:
        if handle:
            handle.remove()
