"""Whole jobs: cross-validation, a first config, the demo, a look at the machine."""
