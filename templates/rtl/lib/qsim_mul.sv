// y = (a - A_ZERO) * (b - B_ZERO); one beat from each stream at a time; one pipeline stage.
`default_nettype none

module qsim_mul #(
    parameter int                    WIDTH     = 9,    // both inputs, signed
    parameter int                    OUT_WIDTH = 18,
    parameter logic signed [127:0]   A_ZERO    = 0,
    parameter logic signed [127:0]   B_ZERO    = 0
) (
    input  wire logic                 clk,
    input  wire logic                 rst,
    input  wire logic [2*WIDTH-1:0]   in_data,
    input  wire logic [1:0]           in_valid,
    output      logic [1:0]           in_ready,
    output      logic [OUT_WIDTH-1:0] out_data,
    output      logic                 out_valid,
    input  wire logic                 out_ready
);
  logic enable, valid_q;
  logic signed [WIDTH:0] a, b;
  logic [OUT_WIDTH-1:0] product_q;
  logic unused;

  assign a = (WIDTH + 1)'($signed(in_data[WIDTH-1:0])) - (WIDTH + 1)'(A_ZERO);
  assign b = (WIDTH + 1)'($signed(in_data[WIDTH+:WIDTH])) - (WIDTH + 1)'(B_ZERO);
  assign enable    = !valid_q || out_ready;
  assign in_ready  = {2{&in_valid && enable}};
  assign out_valid = valid_q;
  assign out_data  = product_q;
  assign unused    = &{1'b0, a, b};

  // The product fits OUT_WIDTH bits by its proven range; so its low bits come from the operands' low bits.
  always_ff @(posedge clk) if (enable) product_q <= OUT_WIDTH'(a) * OUT_WIDTH'(b);

  always_ff @(posedge clk) begin
    if (rst) valid_q <= 1'b0;
    else if (enable) valid_q <= &in_valid;
  end
endmodule

`default_nettype wire
