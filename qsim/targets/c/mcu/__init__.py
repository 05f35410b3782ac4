"""Microcontrollers: the emitted C cross-compiled, run in an emulator, compared and counted."""
