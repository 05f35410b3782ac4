// value * 2**-shift, rounded to an integer; combinational. The modes are Vitis' (UG1399); all of them are a rule on
// floor, tie, above-half and sign. SHIFT bits hold every shift amount, which is at most WIDTH - 2.
`default_nettype none

module qsim_round #(
    parameter int WIDTH = 32,
    parameter int SHIFT = 6,
    parameter logic [127:0] MODE  = "RND_CONV"
) (
    input  wire logic signed [WIDTH-1:0] value,
    input  wire logic        [SHIFT-1:0] shift,
    output      logic signed [WIDTH-1:0] rounded
);
  logic signed [WIDTH-1:0] floor;
  logic [WIDTH-1:0] unit, twice;
  logic above, tie, up;

  assign floor = value >>> shift;
  assign unit  = WIDTH'(1) << shift;
  assign twice = (value & (unit - WIDTH'(1))) << 1;
  assign above = twice > unit;
  assign tie   = twice == unit;

  if (MODE == "TRN") begin : g_trn
    logic unused;
    assign up = 1'b0;
    assign unused = &{1'b0, above, tie};
  end else if (MODE == "TRN_ZERO") begin : g_trn_zero
    logic unused;
    assign up = value[WIDTH-1] && twice != '0;
    assign unused = &{1'b0, above, tie};
  end else if (MODE == "RND") begin : g_rnd
    assign up = above || tie;
  end else if (MODE == "RND_ZERO") begin : g_rnd_zero
    assign up = above || (tie && value[WIDTH-1]);
  end else if (MODE == "RND_MIN_INF") begin : g_rnd_min_inf
    logic unused;
    assign up = above;
    assign unused = &{1'b0, tie};
  end else if (MODE == "RND_INF") begin : g_rnd_inf
    assign up = above || (tie && !value[WIDTH-1]);
  end else if (MODE == "RND_CONV") begin : g_rnd_conv
    assign up = above || (tie && floor[0]);
  end else begin : g_check
    $error("qsim_round: unknown MODE");
  end

  assign rounded = floor + WIDTH'(up);
endmodule

`default_nettype wire
