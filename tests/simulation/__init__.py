"""Deterministic simulation: the real engine over the real store, with time, chance and threads in one seed's hand."""
