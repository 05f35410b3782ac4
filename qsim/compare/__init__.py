"""Targets against the simulator, tensor by tensor, code by code."""
