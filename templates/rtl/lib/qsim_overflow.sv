// Brings a value into OUT_WIDTH bits; combinational. LOW and HIGH are the least and greatest code that may come out
// of the saturating modes. WIDTH is greater than OUT_WIDTH and than the bits of LOW and HIGH.
`default_nettype none

module qsim_overflow #(
    parameter int                  WIDTH      = 16,
    parameter int                  OUT_WIDTH  = 8,
    parameter bit                  OUT_SIGNED = 1'b1,
    parameter logic [127:0] MODE       = "SAT",
    parameter logic signed [127:0] LOW        = -128,
    parameter logic signed [127:0] HIGH       = 127
) (
    input  wire logic signed [WIDTH-1:0]     value,
    output      logic        [OUT_WIDTH-1:0] code
);
  if (WIDTH <= OUT_WIDTH) begin : g_check_width
    $error("qsim_overflow: WIDTH must be greater than OUT_WIDTH");
  end

  if (MODE == "SAT" || MODE == "SAT_SYM") begin : g_sat
    assign code = (value < WIDTH'(LOW)) ? OUT_WIDTH'(LOW) : (value > WIDTH'(HIGH)) ? OUT_WIDTH'(HIGH) : OUT_WIDTH'(value);
  end else if (MODE == "SAT_ZERO") begin : g_sat_zero
    assign code = (value < WIDTH'(LOW) || value > WIDTH'(HIGH)) ? '0 : OUT_WIDTH'(value);
  end else if (MODE == "WRAP" || (MODE == "WRAP_SM" && !OUT_SIGNED)) begin : g_wrap
    logic unused;
    assign code = value[OUT_WIDTH-1:0];
    assign unused = &{1'b0, value};
  end else if (MODE == "WRAP_SM") begin : g_wrap_sm
    logic unused;
    assign code = (value[OUT_WIDTH] != value[OUT_WIDTH-1]) ? ~value[OUT_WIDTH-1:0] : value[OUT_WIDTH-1:0];
    assign unused = &{1'b0, value};
  end else begin : g_check_mode
    $error("qsim_overflow: unknown MODE");
  end
endmodule

`default_nettype wire
