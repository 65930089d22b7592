"""Magnetic resonance: the measurement, its preparation, classical methods, simulation."""
