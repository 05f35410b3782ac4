// value rounded half to even to 24 significant bits, as a float32 keeps: value ~ kept * 2**drop; combinational.
`default_nettype none

module qsim_significant #(
    parameter int WIDTH = 32,
    parameter int DROP  = 6
) (
    input  wire logic signed [WIDTH-1:0] value,
    output      logic signed [WIDTH:0]   kept,
    output      logic        [DROP-1:0]  drop
);
  localparam int WIDE = ((WIDTH > 26) ? WIDTH : 26) + 1;

  logic [WIDTH-1:0] magnitude;
  logic signed [WIDE-1:0] rounded;

  assign magnitude = value[WIDTH-1] ? -value : value;

  always_comb begin
    drop = '0;
    for (int i = 24; i < WIDTH; i++) begin
      if (magnitude[i]) drop = DROP'(i - 23);
    end
  end

  qsim_round #(
      .WIDTH(WIDE), .SHIFT(DROP), .MODE("RND_CONV")
  ) rounding (
      .value(WIDE'(value)), .shift(drop), .rounded(rounded)
  );

  assign kept = (WIDTH + 1)'(rounded);

  logic unused;
  assign unused = &{1'b0, rounded};
endmodule

`default_nettype wire
