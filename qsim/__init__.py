"""qsim: quantized networks as integer graphs, simulated bit for bit and emitted as C, HLS C++ and SystemVerilog."""

__version__ = "0.1.0"
