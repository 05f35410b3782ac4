// One rescale in two registered steps: multiply (and add), then shift and round. ``enable`` moves each step on.
//
//   PLAIN     round((x * multiplier + addend) * 2**-shift); a negative shift is a left shift
//   SRDHM     round(SRDHM(int32(x * 2**max(-shift, 0)), multiplier) * 2**-max(shift, 0)), gemmlowp's high product
//   FLOAT32   round_half_even(float32(float32(x) * multiplier * 2**-shift))
`default_nettype none

module qsim_rescale #(
    parameter logic [127:0] SCHEME  = "PLAIN",
    parameter logic [127:0] MODE    = "RND_CONV",
    parameter int X_WIDTH = 16,   // signed
    parameter int M_WIDTH = 8,    // multiplier, signed
    parameter int A_WIDTH = 8,    // addend, signed
    parameter int S_WIDTH = 6,    // shift, signed
    parameter int P_WIDTH = 24,   // x * multiplier + addend
    parameter int R_WIDTH = 24    // the shifted value, the rounding unit and the result
) (
    input  wire logic                      clk,
    input  wire logic        [1:0]         enable,
    input  wire logic signed [X_WIDTH-1:0] x,
    input  wire logic signed [M_WIDTH-1:0] multiplier,
    input  wire logic signed [A_WIDTH-1:0] addend,
    input  wire logic signed [S_WIDTH-1:0] shift,
    output      logic signed [R_WIDTH-1:0] result_q
);
  logic signed [P_WIDTH-1:0] product, product_q;
  logic signed [S_WIDTH:0] right, right_q, rest;   // what is left to shift after the first step; negative: left
  logic signed [R_WIDTH-1:0] wide, aligned, rounded;
  logic [S_WIDTH-1:0] amount;

  if (SCHEME == "PLAIN") begin : g_plain
    assign product = P_WIDTH'(x) * P_WIDTH'(multiplier) + P_WIDTH'(addend);
    assign right   = (S_WIDTH + 1)'(shift);
    assign wide    = R_WIDTH'(product_q);
    assign rest    = right_q;
  end else if (SCHEME == "SRDHM") begin : g_srdhm
    logic signed [31:0] shifted, high;
    logic unused;
    assign shifted = shift[S_WIDTH-1] ? 32'(x) << -shift : 32'(x);
    qsim_srdhm doubling (.a(shifted), .b(32'(multiplier)), .high(high));
    assign product = P_WIDTH'(high);
    assign right   = shift[S_WIDTH-1] ? '0 : (S_WIDTH + 1)'(shift);
    assign wide    = R_WIDTH'(product_q);
    assign rest    = right_q;
    assign unused  = &{1'b0, addend};
  end else if (SCHEME == "FLOAT32") begin : g_float32
    logic signed [X_WIDTH:0] x24;
    logic signed [P_WIDTH:0] p24;
    logic [S_WIDTH-1:0] x_drop, p_drop, x_drop_q;
    logic signed [S_WIDTH-1:0] shift_q;
    logic unused;
    qsim_significant #(.WIDTH(X_WIDTH), .DROP(S_WIDTH)) input24 (.value(x), .kept(x24), .drop(x_drop));
    qsim_significant #(.WIDTH(P_WIDTH), .DROP(S_WIDTH)) product24 (.value(product_q), .kept(p24), .drop(p_drop));
    assign product = P_WIDTH'(x24) * P_WIDTH'(multiplier);
    always_ff @(posedge clk) begin
      if (enable[0]) x_drop_q <= x_drop;
      if (enable[0]) shift_q <= shift;
    end
    assign right  = '0;
    assign wide   = R_WIDTH'(p24);
    assign rest   = (S_WIDTH + 1)'(shift_q) - (S_WIDTH + 1)'($signed({1'b0, x_drop_q}))
                    - (S_WIDTH + 1)'($signed({1'b0, p_drop}));
    assign unused = &{1'b0, addend, right_q};
  end else begin : g_check
    $error("qsim_rescale: unknown SCHEME");
  end

  assign aligned = rest[S_WIDTH] ? wide << -rest : wide;
  assign amount  = rest[S_WIDTH] ? '0 : rest[S_WIDTH-1:0];

  qsim_round #(
      .WIDTH(R_WIDTH), .SHIFT(S_WIDTH), .MODE(MODE)
  ) rounding (
      .value(aligned), .shift(amount), .rounded(rounded)
  );

  always_ff @(posedge clk) begin
    if (enable[0]) begin
      product_q <= product;
      right_q   <= right;
    end
    if (enable[1]) result_q <= rounded;
  end
endmodule

`default_nettype wire
