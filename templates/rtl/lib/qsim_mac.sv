// Convolution and dense layers: windows, LANES multiply-accumulate lanes, bias, and the results one per beat.
//
//   y[lane] = bias + 2**SHIFT * SCALE * sum over the walk of weight * (x - ZERO); positions outside the frame add nothing.
//
// KIND: how the products are formed, see qsim_products.sv. XNOR: every x is HIGH or its opposite in sign about ZERO; the
// window holds one bit of each, and weight * (x - ZERO) is counted in units of HIGH - ZERO, which SCALE has as a factor.
// SHARED = 1: every lane sums over all WORD elements of a word (LANES output channels of one group share the input).
// SHARED = 0: lane l takes element l / (LANES / WORD) alone (depthwise: WORD channels side by side).
// Results wrap to OUT_WIDTH bits, which hold the proven range; so partial sums may wrap and the result is exact.
`default_nettype none

module qsim_mac #(
    parameter int WIDTH     = 8,
    parameter bit SIGNED    = 1'b1,   // the input's codes are signed
    parameter int WORD      = 1,
    parameter int H         = 1,
    parameter int W         = 1,
    parameter int C         = 1,
    parameter int OH        = 1,
    parameter int OW        = 1,
    parameter int KH        = 1,
    parameter int KW        = 1,
    parameter int SH        = 1,
    parameter int SW        = 1,
    parameter int DH        = 1,
    parameter int DW        = 1,
    parameter int TOP       = 0,
    parameter int LEFT      = 0,
    parameter int GROUPS    = 1,
    parameter int TILES     = 1,
    parameter int DEPTH     = 2,
    parameter int CREDITS   = 4,
    parameter int LANES     = 1,
    parameter bit SHARED    = 1'b1,
    parameter int ZERO      = 0,      // the input's zero point
    parameter int SHIFT     = 0,
    parameter logic [127:0] KIND = "MULTIPLY",
    parameter int X_WIDTH   = WIDTH + 2,   // bits that hold x - ZERO and 0, signed unless X_SIGNED = 0; XNOR: 1
    parameter bit X_SIGNED  = 1'b1,
    parameter logic signed [127:0] HIGH = 1,
    parameter logic [63:0] SCALE = 1,
    parameter int W_WIDTH   = 8,      // bits of a stored weight
    parameter int EXPONENT  = 0,      // SHIFT: the greatest shift
    parameter bit ZEROS     = 1'b0,   // SHIFT: weights may be zero
    parameter int OUT_WIDTH = 16,
    parameter     WEIGHTS   = "",   // one word per step of a pixel: {.., lane 1, lane 0} x {.., element 0}
    parameter     BIAS      = ""       // one word per walk: {.., lane 1, lane 0}
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
  localparam int PER_LANE = SHARED ? WORD : 1;                 // products that a lane sums per cycle
  localparam int STEPS = TILES * KH * KW * (C / WORD);         // steps per output pixel
  localparam int WALKS = TILES * GROUPS;
  localparam int STEP = (STEPS > 1) ? $clog2(STEPS) : 1;
  localparam int WALK = (WALKS > 1) ? $clog2(WALKS) : 1;
  localparam int ROM = LANES * PER_LANE * W_WIDTH;
  localparam int GROW = (KIND == "SHIFT") ? EXPONENT + 1 : W_WIDTH;
  localparam int SUM = X_WIDTH + GROW + ((PER_LANE > 1) ? $clog2(PER_LANE) : 0);
  localparam int HELD = (KIND == "XNOR") ? 1 : WIDTH;          // bits of an element in the window

  if (!SHARED && LANES % WORD != 0) begin : g_check
    $error("qsim_mac: WORD must divide LANES where lanes do not share the input");
  end
  if (((KIND == "XNOR" || KIND == "PLANES") && W_WIDTH != 1) || (KIND == "ADD" && W_WIDTH > 2)
      || (KIND == "SHIFT" && W_WIDTH < 2) || (KIND == "XNOR" && X_WIDTH != 1)) begin : g_check_kind
    $error("qsim_mac: W_WIDTH and X_WIDTH must be those of KIND");
  end

  logic [ROM-1:0] weight_rom[0:STEPS-1];
  logic [LANES*OUT_WIDTH-1:0] bias_rom[0:WALKS-1];
  if (WEIGHTS != "") begin : g_weight_rom
    initial $readmemh(WEIGHTS, weight_rom);
  end
  if (BIAS != "") begin : g_bias_rom
    initial $readmemh(BIAS, bias_rom);
  end

  logic fire, fire_last, fire_wrap, pop;
  logic s1_valid, s1_first, s1_last, s1_inside;
  logic s2_valid_q, s2_first_q, s2_last_q, s3_done_q;
  logic [HELD-1:0] held;
  logic [WORD*HELD-1:0] s1_data;
  logic [ROM-1:0] s1_weight_q;
  logic [LANES*OUT_WIDTH-1:0] s1_bias_q, s2_bias_q, s3_acc_q;
  logic [LANES*SUM-1:0] s2_sum_q;
  logic [STEP-1:0] step_q, step_d;
  logic [WALK-1:0] walk_q, walk_d;

  qsim_window #(
      .WIDTH(HELD), .WORD(WORD), .H(H), .W(W), .C(C), .OH(OH), .OW(OW), .KH(KH), .KW(KW), .SH(SH), .SW(SW),
      .DH(DH), .DW(DW), .TOP(TOP), .LEFT(LEFT), .GROUPS(GROUPS), .TILES(TILES), .DEPTH(DEPTH), .CREDITS(CREDITS)
  ) window (
      .clk(clk), .rst(rst), .in_data(held), .in_valid(in_valid), .in_ready(in_ready), .credit(pop),
      .fire(fire), .fire_last(fire_last), .fire_wrap(fire_wrap), .step_valid(s1_valid), .step_first(s1_first),
      .step_last(s1_last), .step_inside(s1_inside), .step_data(s1_data)
  );

  always_comb begin
    step_d = step_q;
    walk_d = walk_q;
    if (fire) step_d = fire_wrap ? '0 : step_q + STEP'(1);
    if (fire && fire_last) walk_d = fire_wrap ? '0 : walk_q + WALK'(1);
  end

  always_ff @(posedge clk) begin
    if (fire) begin
      s1_weight_q <= weight_rom[step_q];
      s1_bias_q   <= bias_rom[walk_q];
    end
  end

  // Offset inputs of the word: x - ZERO, or nothing outside the frame. XNOR: bits, and their sum counts inside only.
  logic [WORD*X_WIDTH-1:0] x;
  if (KIND == "XNOR") begin : g_bits
    assign held = in_data == WIDTH'(HIGH);
    assign x = s1_data;
  end else begin : g_codes
    assign held = in_data;
    for (genvar e = 0; e < WORD; e++) begin : g_input
      logic [WIDTH-1:0] code;
      assign code = s1_data[e*WIDTH+:WIDTH];
      assign x[e*X_WIDTH+:X_WIDTH] =
          s1_inside ? X_WIDTH'($signed({{2{SIGNED && code[WIDTH-1]}}, code}) - (WIDTH + 2)'(ZERO)) : '0;
    end
  end

  // PLANES: the sum of the word, which all lanes share.
  logic [SUM-1:0] total;
  always_comb begin
    total = '0;
    if (KIND == "PLANES") begin
      for (int e = 0; e < PER_LANE; e++) begin
        total = total + SUM'($signed({X_SIGNED && x[e*X_WIDTH+X_WIDTH-1], x[e*X_WIDTH+:X_WIDTH]}));
      end
    end
  end

  for (genvar l = 0; l < LANES; l++) begin : g_lane
    localparam int FIRST = SHARED ? 0 : l / (LANES / WORD);
    logic [SUM-1:0] sum;
    qsim_products #(
        .KIND(KIND), .N(PER_LANE), .X_WIDTH(X_WIDTH), .X_SIGNED(X_SIGNED), .W_WIDTH(W_WIDTH), .ZEROS(ZEROS), .SUM(SUM)
    ) products (
        .x(x[FIRST*X_WIDTH+:PER_LANE*X_WIDTH]), .weight(s1_weight_q[l*PER_LANE*W_WIDTH+:PER_LANE*W_WIDTH]),
        .total(total), .sum(sum)
    );
    always_ff @(posedge clk) s2_sum_q[l*SUM+:SUM] <= (KIND == "XNOR" && !s1_inside) ? '0 : sum;

    // SCALE is constant: one adder for each of its ones but the first.
    logic [OUT_WIDTH-1:0] unit, term, previous;
    logic unused;
    assign unused = &{1'b0, s2_sum_q[l*SUM+:SUM]};
    assign unit = OUT_WIDTH'($signed(s2_sum_q[l*SUM+:SUM]));
    always_comb begin
      term = '0;
      for (int i = 0; i < 64; i++) if (SCALE[i]) term = term + (unit << (SHIFT + i));
    end
    assign previous = s2_first_q ? s2_bias_q[l*OUT_WIDTH+:OUT_WIDTH] : s3_acc_q[l*OUT_WIDTH+:OUT_WIDTH];
    always_ff @(posedge clk) if (s2_valid_q) s3_acc_q[l*OUT_WIDTH+:OUT_WIDTH] <= previous + term;
  end

  always_ff @(posedge clk) begin
    s2_first_q <= s1_first;
    s2_last_q  <= s1_last;
    s2_bias_q  <= s1_bias_q;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      step_q <= '0;
      walk_q <= '0;
      s2_valid_q <= 1'b0;
      s3_done_q <= 1'b0;
    end else begin
      step_q <= step_d;
      walk_q <= walk_d;
      s2_valid_q <= s1_valid;
      s3_done_q <= s2_valid_q && s2_last_q;
    end
  end

  qsim_serialize #(
      .WIDTH(OUT_WIDTH), .LANES(LANES), .DEPTH(CREDITS)
  ) results (
      .clk(clk), .rst(rst), .in_data(s3_acc_q), .in_valid(s3_done_q), .pop(pop), .out_data(out_data),
      .out_valid(out_valid), .out_ready(out_ready)
  );
endmodule

`default_nettype wire
