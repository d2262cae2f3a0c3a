"""The test-bed: how the built-in reasoners are made; nothing imports this."""
