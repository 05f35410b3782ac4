// y = clip(round((x * numerator + addend) / divisor) + Y_ZERO, LOW, HIGH), exactly: the quotient by multiplication with
// ceil(2**SHIFT / divisor), which is exact over the proven range, the rounding by the remainder. Three stages.
//
// A table word is {reciprocal, divisor, addend, numerator}; PERIOD words are read in step with the stream.
`default_nettype none

module qsim_divide #(
    parameter int                  WIDTH     = 16,
    parameter bit                  SIGNED    = 1'b1,
    parameter logic [127:0]        MODE      = "RND_CONV",
    parameter int                  N_WIDTH   = 2,     // numerator, signed
    parameter int                  A_WIDTH   = 2,     // addend, signed
    parameter int                  D_WIDTH   = 3,     // divisor, positive, with a zero sign bit
    parameter int                  M_WIDTH   = 18,    // reciprocal, unsigned
    parameter int                  P_WIDTH   = 17,    // x * numerator + addend, signed
    parameter int                  V_WIDTH   = 19,    // quotient with zero point, signed
    parameter int                  SHIFT     = 18,
    parameter logic signed [127:0] Y_ZERO    = 0,
    parameter logic signed [127:0] LOW       = -128,
    parameter logic signed [127:0] HIGH      = 127,
    parameter int                  OUT_WIDTH = 8,
    parameter int                  PERIOD    = 1,
    parameter                      TABLE     = ""
) (
    input  wire logic                 clk,
    input  wire logic                 rst,
    input  wire logic [WIDTH-1:0]     in_data,
    input  wire logic                 in_valid,
    output      logic                 in_ready,
    output      logic [OUT_WIDTH-1:0] out_data,
    output      logic                 out_valid,
    input  wire logic                 out_ready
);
  localparam int ONE = M_WIDTH + D_WIDTH + A_WIDTH + N_WIDTH;
  localparam int IDX = (PERIOD > 1) ? $clog2(PERIOD) : 1;
  localparam int REM = D_WIDTH + 2;   // the remainder, doubled

  logic [ONE-1:0] rom[0:PERIOD-1];
  if (TABLE != "") begin : g_rom
    initial $readmemh(TABLE, rom);
  end

  logic [2:0] enable, valid_q;
  logic [IDX-1:0] idx_q, idx_d;
  logic [ONE-1:0] entry;
  logic signed [WIDTH:0] x;
  logic signed [P_WIDTH-1:0] s1_value_q, s2_value_q, quotient, s2_quotient_q, s3_quotient_q;
  logic [P_WIDTH-1:0] magnitude, floor_magnitude;
  logic [D_WIDTH-1:0] s1_divisor_q, s2_divisor_q;
  logic [M_WIDTH-1:0] s1_reciprocal_q;
  logic [REM-1:0] twice, unit;
  logic above, tie, up, s3_up_q;
  logic signed [V_WIDTH-1:0] value;

  assign enable[2] = !valid_q[2] || out_ready;
  assign enable[1] = !valid_q[1] || enable[2];
  assign enable[0] = !valid_q[0] || enable[1];
  assign in_ready  = enable[0];
  assign out_valid = valid_q[2];
  assign entry     = rom[idx_q];
  assign x         = $signed({SIGNED && in_data[WIDTH-1], in_data});

  always_comb begin
    idx_d = idx_q;
    if (in_valid && in_ready) idx_d = (idx_q == IDX'(PERIOD - 1)) ? '0 : idx_q + IDX'(1);
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      valid_q <= '0;
      idx_q   <= '0;
    end else begin
      if (enable[0]) valid_q[0] <= in_valid;
      if (enable[1]) valid_q[1] <= valid_q[0];
      if (enable[2]) valid_q[2] <= valid_q[1];
      idx_q <= idx_d;
    end
  end

  // floor(n / d) = ~floor(~n / d) for negative n.
  assign magnitude = s1_value_q[P_WIDTH-1] ? ~s1_value_q : s1_value_q;
  assign floor_magnitude = P_WIDTH'(((P_WIDTH + M_WIDTH)'(magnitude) * (P_WIDTH + M_WIDTH)'(s1_reciprocal_q)) >> SHIFT);
  assign quotient = s1_value_q[P_WIDTH-1] ? ~floor_magnitude : floor_magnitude;

  assign unit = REM'(s2_divisor_q);
  assign twice = (REM'(s2_value_q) - REM'(s2_quotient_q) * unit) << 1;
  assign above = twice > unit;
  assign tie = twice == unit;

  if (MODE == "TRN") begin : g_trn
    assign up = 1'b0;
  end else if (MODE == "TRN_ZERO") begin : g_trn_zero
    assign up = twice != '0 && s2_value_q[P_WIDTH-1];
  end else if (MODE == "RND") begin : g_rnd
    assign up = above || tie;
  end else if (MODE == "RND_ZERO") begin : g_rnd_zero
    assign up = above || (tie && s2_value_q[P_WIDTH-1]);
  end else if (MODE == "RND_MIN_INF") begin : g_rnd_min_inf
    assign up = above;
  end else if (MODE == "RND_INF") begin : g_rnd_inf
    assign up = above || (tie && !s2_value_q[P_WIDTH-1]);
  end else if (MODE == "RND_CONV") begin : g_rnd_conv
    assign up = above || (tie && s2_quotient_q[0]);
  end else begin : g_check
    $error("qsim_divide: unknown MODE");
  end

  logic unused;
  assign unused = &{1'b0, above, tie, s2_value_q};

  always_ff @(posedge clk) begin
    if (enable[0]) begin
      s1_value_q <= P_WIDTH'(x) * P_WIDTH'($signed(entry[N_WIDTH-1:0])) + P_WIDTH'($signed(entry[N_WIDTH+:A_WIDTH]));
      s1_divisor_q <= entry[N_WIDTH+A_WIDTH+:D_WIDTH];
      s1_reciprocal_q <= entry[N_WIDTH+A_WIDTH+D_WIDTH+:M_WIDTH];
    end
    if (enable[1]) begin
      s2_value_q <= s1_value_q;
      s2_quotient_q <= quotient;
      s2_divisor_q <= s1_divisor_q;
    end
    if (enable[2]) begin
      s3_quotient_q <= s2_quotient_q;
      s3_up_q <= up;
    end
  end

  assign value = V_WIDTH'(s3_quotient_q) + V_WIDTH'($signed({1'b0, s3_up_q})) + V_WIDTH'(Y_ZERO);

  qsim_overflow #(
      .WIDTH(V_WIDTH), .OUT_WIDTH(OUT_WIDTH), .OUT_SIGNED(1'b1), .MODE("SAT"), .LOW(LOW), .HIGH(HIGH)
  ) bounds (
      .value(value), .code(out_data)
  );
endmodule

`default_nettype wire
