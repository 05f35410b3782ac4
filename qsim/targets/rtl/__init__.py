"""SystemVerilog: streaming kernels and a top that wires them."""
