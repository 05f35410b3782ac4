// One rescale in four registered steps: multiply, add, add what rounds, shift. ``enable`` moves each step on.
//
//   PLAIN     round((x * multiplier + addend) * 2**-shift); a negative shift is a left shift
//   SRDHM     round(SRDHM(int32(x * 2**max(-shift, 0)), multiplier) * 2**-max(shift, 0)), gemmlowp's high product
//   FLOAT32   round_half_even(float32(float32(x) * multiplier * 2**-shift)); its steps: 24 bits of x, multiply, 24 bits
//             of the product, shift and round
//
// LEFT: some shift is negative.
`default_nettype none

module qsim_rescale #(
    parameter logic [127:0] SCHEME  = "PLAIN",
    parameter logic [127:0] MODE    = "RND_CONV",
    parameter int X_WIDTH = 16,   // signed
    parameter int M_WIDTH = 8,    // multiplier, signed
    parameter int A_WIDTH = 8,    // addend, signed
    parameter int S_WIDTH = 6,    // shift, signed
    parameter int P_WIDTH = 24,   // x * multiplier + addend
    parameter int R_WIDTH = 24,   // the shifted value, the rounding unit and the result
    parameter bit LEFT    = 1'b1
) (
    input  wire logic                      clk,
    input  wire logic        [3:0]         enable,
    input  wire logic signed [X_WIDTH-1:0] x,
    input  wire logic signed [M_WIDTH-1:0] multiplier,
    input  wire logic signed [A_WIDTH-1:0] addend,
    input  wire logic signed [S_WIDTH-1:0] shift,
    output      logic signed [R_WIDTH-1:0] result_q
);
  logic unused;

  if (SCHEME == "PLAIN" || SCHEME == "SRDHM") begin : g_integer
    logic signed [R_WIDTH-1:0] sum, sum_q, aligned, biased_q;
    logic signed [S_WIDTH-1:0] shift_q;
    logic [S_WIDTH-1:0] right, right_q, amount_q;
    logic [R_WIDTH-1:0] unit_q;

    if (SCHEME == "PLAIN") begin : g_plain
      // A product may leave P_WIDTH; the total never does, and is right modulo 2**P_WIDTH: it has a name of that width.
      logic signed [P_WIDTH-1:0] product_q, total;
      logic signed [A_WIDTH-1:0] addend_q;
      logic [S_WIDTH-1:0] left, left_q;
      always_ff @(posedge clk) begin
        if (enable[0]) begin
          product_q <= P_WIDTH'(x) * P_WIDTH'(multiplier);
          addend_q  <= addend;
        end
        if (enable[1]) left_q <= left;
      end
      assign total = product_q + P_WIDTH'(addend_q);
      assign sum = R_WIDTH'(total);
      assign left = (LEFT && shift_q[S_WIDTH-1]) ? -shift_q : '0;
      assign aligned = LEFT ? sum_q << left_q : sum_q;
      assign unused = &{1'b0, left_q};
    end else begin : g_srdhm
      localparam int IN = (LEFT || X_WIDTH > 32) ? 32 : X_WIDTH;
      localparam int M = (M_WIDTH > 32) ? 32 : M_WIDTH;
      logic signed [IN-1:0] shifted;
      logic signed [IN+M-1:0] full_q;
      logic signed [31:0] high;
      assign shifted = (LEFT && shift[S_WIDTH-1]) ? IN'(x) << -shift : IN'(x);
      always_ff @(posedge clk) if (enable[0]) full_q <= (IN + M)'(shifted) * (IN + M)'($signed(multiplier[M-1:0]));
      qsim_srdhm #(.WIDTH(IN + M)) doubling (.full(full_q), .high(high));
      assign sum = R_WIDTH'(high);
      assign aligned = sum_q;
      assign unused = &{1'b0, addend};
    end

    assign right = (LEFT && shift_q[S_WIDTH-1]) ? '0 : shift_q;
    always_ff @(posedge clk) begin
      if (enable[0]) shift_q <= shift;
      if (enable[1]) begin
        sum_q   <= sum;
        right_q <= right;
        unit_q  <= R_WIDTH'(1) << right;
      end
      if (enable[2]) amount_q <= right_q;
      if (enable[3]) result_q <= biased_q >>> amount_q;
    end

    // round(v * 2**-s) = (v + bias) >> s, where the bias depends on the mode, the sign and the last bit that stays.
    logic signed [R_WIDTH-1:0] half, bias;
    logic minus, odd;
    assign half = $signed(unit_q >> 1);
    assign minus = aligned[R_WIDTH-1];
    assign odd = (aligned & $signed(unit_q)) != '0;
    if (MODE == "TRN") begin : g_trn
      assign bias = '0;
    end else if (MODE == "TRN_ZERO") begin : g_trn_zero
      assign bias = minus ? $signed(unit_q) - R_WIDTH'(1) : '0;
    end else if (MODE == "RND") begin : g_rnd
      assign bias = half;
    end else if (MODE == "RND_ZERO") begin : g_rnd_zero
      assign bias = minus ? half : half - R_WIDTH'(1);
    end else if (MODE == "RND_MIN_INF") begin : g_rnd_min_inf
      assign bias = half - R_WIDTH'(1);
    end else if (MODE == "RND_INF") begin : g_rnd_inf
      assign bias = minus ? half - R_WIDTH'(1) : half;
    end else if (MODE == "RND_CONV") begin : g_rnd_conv
      assign bias = odd ? half : half - R_WIDTH'(1);
    end else begin : g_check_mode
      $error("qsim_rescale: unknown MODE");
    end
    logic unused_bits;
    assign unused_bits = &{1'b0, half, minus, odd};
    always_ff @(posedge clk) if (enable[2]) biased_q <= aligned + ((right_q == '0) ? '0 : bias);
  end else if (SCHEME == "FLOAT32") begin : g_float32
    logic signed [X_WIDTH:0] x24, x24_q;
    logic signed [P_WIDTH-1:0] product_q;
    logic signed [P_WIDTH:0] p24;
    logic signed [M_WIDTH-1:0] multiplier_q;
    logic [S_WIDTH-1:0] x_drop, x_drop_q, x_drop2_q, p_drop, amount;
    logic signed [S_WIDTH-1:0] shift_q, shift2_q;
    logic signed [S_WIDTH:0] rest_q;   // what is left to shift; negative: left
    logic signed [R_WIDTH-1:0] wide_q, aligned, rounded;

    qsim_significant #(.WIDTH(X_WIDTH), .DROP(S_WIDTH)) input24 (.value(x), .kept(x24), .drop(x_drop));
    qsim_significant #(.WIDTH(P_WIDTH), .DROP(S_WIDTH)) product24 (.value(product_q), .kept(p24), .drop(p_drop));
    assign aligned = rest_q[S_WIDTH] ? wide_q << -rest_q : wide_q;
    assign amount  = rest_q[S_WIDTH] ? '0 : rest_q[S_WIDTH-1:0];
    qsim_round #(
        .WIDTH(R_WIDTH), .SHIFT(S_WIDTH), .MODE(MODE)
    ) rounding (
        .value(aligned), .shift(amount), .rounded(rounded)
    );

    always_ff @(posedge clk) begin
      if (enable[0]) begin
        x24_q        <= x24;
        x_drop_q     <= x_drop;
        multiplier_q <= multiplier;
        shift_q      <= shift;
      end
      if (enable[1]) begin
        product_q <= P_WIDTH'(x24_q) * P_WIDTH'(multiplier_q);
        x_drop2_q <= x_drop_q;
        shift2_q  <= shift_q;
      end
      if (enable[2]) begin
        wide_q <= R_WIDTH'(p24);
        rest_q <= (S_WIDTH + 1)'(shift2_q) - (S_WIDTH + 1)'($signed({1'b0, x_drop2_q}))
                  - (S_WIDTH + 1)'($signed({1'b0, p_drop}));
      end
      if (enable[3]) result_q <= rounded;
    end
    assign unused = &{1'b0, addend, LEFT};
  end else begin : g_check
    $error("qsim_rescale: unknown SCHEME");
  end
endmodule

`default_nettype wire
