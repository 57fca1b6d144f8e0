"""Trains nothing."""
print("hello")
