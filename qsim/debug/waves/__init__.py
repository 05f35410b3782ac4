"""Waveform files as sources of codes."""
