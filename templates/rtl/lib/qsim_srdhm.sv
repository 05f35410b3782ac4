// gemmlowp's SaturatingRoundingDoublingHighMul: (a * b + nudge) / 2**31, truncated; combinational.
`default_nettype none

module qsim_srdhm (
    input  wire logic signed [31:0] a,
    input  wire logic signed [31:0] b,
    output      logic signed [31:0] high
);
  logic signed [63:0] full, nudged, quotient;

  assign full = 64'(a) * 64'(b);
  assign nudged = full + (full[63] ? 64'sd1 - 64'sd1073741824 : 64'sd1073741824);
  assign quotient = nudged[63] ? -(-nudged >>> 31) : nudged >>> 31;
  // Only the square of the least number leaves 32 bits.
  assign high = (quotient > 64'sd2147483647) ? 32'sd2147483647 : quotient[31:0];
endmodule

`default_nettype wire
