"""TFLite operators into integer operations."""
