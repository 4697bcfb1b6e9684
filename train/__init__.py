"""The programs: `python -m train PRESET`, train.evaluate, train.apply, train.data."""
