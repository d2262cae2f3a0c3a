"""How notebooks run as stages."""
