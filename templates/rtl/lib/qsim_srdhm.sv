// gemmlowp's SaturatingRoundingDoublingHighMul of a product: (full + 2**30) >> 31, which is the truncated quotient of
// the product and its nudge for either sign; combinational. Only the square of the least number leaves 32 bits.
`default_nettype none

module qsim_srdhm #(
    parameter int WIDTH = 64   // of the product, signed
) (
    input  wire logic signed [WIDTH-1:0] full,
    output      logic signed [31:0]      high
);
  logic signed [64:0] quotient;

  assign quotient = (65'(full) + 65'sd1073741824) >>> 31;
  if (WIDTH < 63) begin : g_narrow
    logic unused;
    assign high   = quotient[31:0];
    assign unused = &{1'b0, quotient[64:32]};
  end else begin : g_wide
    assign high = (quotient > 65'sd2147483647) ? 32'sd2147483647 : quotient[31:0];
  end
endmodule

`default_nettype wire
