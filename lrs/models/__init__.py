"""Frozen models: loading, devices, activations."""
