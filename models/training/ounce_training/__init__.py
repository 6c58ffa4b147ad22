"""Trains the models that ounce ships, from scratch, on labelled photos of people."""
