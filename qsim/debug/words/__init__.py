"""Layers in words: formula, numbers, one element worked out."""
