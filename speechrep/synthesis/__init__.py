"""Synthetic speech with true phone times, through the espeak-ng library."""
