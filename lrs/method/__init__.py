"""The paper's equations: gate, ascent, reward, dictionary; no hooks."""
