"""`python -m train.scaling PRESET`: how a training step scales with the devices."""
