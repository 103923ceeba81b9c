"""Scoring only what decides."""
