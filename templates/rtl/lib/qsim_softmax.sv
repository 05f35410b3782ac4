// TensorFlow Lite's integer softmax over rows of LENGTH codes, one row after the other.
//
// A table gives exp(-k) in Q0.31 for every difference k to the row's maximum; codes further below count nothing and
// give LOW. The sum has 12 integer bits; its reciprocal takes three Newton steps; all products are SRDHM, one a cycle.
`default_nettype none

module qsim_softmax #(
    parameter int                  WIDTH     = 8,
    parameter bit                  SIGNED    = 1'b1,
    parameter int                  LENGTH    = 4,
    parameter int                  ENTRIES   = 256,
    parameter int                  OUT_WIDTH = 8,
    parameter logic signed [127:0] LOW       = -128,
    parameter logic signed [127:0] HIGH      = 127,
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
  localparam int IDX = (LENGTH > 1) ? $clog2(LENGTH) : 1;
  localparam int ENT = (ENTRIES > 1) ? $clog2(ENTRIES) : 1;
  localparam int DIFF = ((WIDTH > ENT) ? WIDTH : ENT) + 2;
  localparam logic [2:0] RECEIVE = 3'd0, ADD_READ = 3'd1, ADD = 3'd2, INVERT = 3'd3, READ = 3'd4, SCALE = 3'd5, SEND = 3'd6;
  localparam logic [3:0] LAST_INVERT = 4'd8;
  localparam logic signed [31:0] ONE_Q0 = 32'sd2147483647;     // one in Q0.31
  localparam logic signed [31:0] ONE_Q2 = 32'sd536870912;      // one in Q2.29
  localparam logic signed [31:0] FIRST = 32'sd1515870810;      // 48/17 in Q2.29
  localparam logic signed [31:0] SLOPE = -32'sd1010580540;     // -32/17 in Q2.29

  logic [30:0] exp_rom[0:ENTRIES-1];
  if (TABLE != "") begin : g_rom
    initial $readmemh(TABLE, exp_rom);
  end

  logic signed [WIDTH:0] row[0:LENGTH-1];
  logic [2:0] state_q, state_d;
  logic [3:0] newton_q, newton_d;
  logic [IDX-1:0] idx_q, idx_d;
  logic signed [WIDTH:0] best_q, best_d, value;
  logic [DIFF-1:0] difference;
  logic used, used_q, last, step;
  logic [30:0] exp_q;
  logic [31:0] total_q, total_d, normal;
  logic [5:0] headroom_q, headroom;
  logic signed [31:0] half_q, half_d, x_q, x_d, p_q, p_d, a, b, high, shifted_twice;
  logic signed [63:0] full;
  logic signed [33:0] gained;
  logic signed [32:0] denominator, denominator_half;
  logic signed [32:0] term;
  logic signed [39:0] unscaled;
  logic [5:0] exponent;
  logic signed [40:0] code;

  assign value = $signed({SIGNED && in_data[WIDTH-1], in_data});
  assign last = idx_q == IDX'(LENGTH - 1);
  assign in_ready = state_q == RECEIVE;
  assign out_valid = state_q == SEND;
  assign step = (state_q == RECEIVE) ? in_valid : (state_q == SEND) ? out_ready : 1'b1;
  assign difference = DIFF'(best_q) - DIFF'(row[idx_q]);
  assign used = difference < DIFF'(ENTRIES);

  always_comb begin
    state_d = state_q;
    newton_d = '0;
    idx_d = idx_q;
    case (state_q)
      RECEIVE: begin
        if (step) idx_d = last ? '0 : idx_q + IDX'(1);
        if (step && last) state_d = ADD_READ;
      end
      ADD_READ: state_d = ADD;
      ADD: begin
        idx_d = last ? '0 : idx_q + IDX'(1);
        state_d = last ? INVERT : ADD_READ;
      end
      INVERT: begin
        newton_d = newton_q + 4'd1;
        if (newton_q == LAST_INVERT) state_d = READ;
      end
      READ: state_d = SCALE;
      SCALE: state_d = SEND;
      default: begin
        if (step) begin
          idx_d = last ? '0 : idx_q + IDX'(1);
          state_d = last ? RECEIVE : READ;
        end
      end
    endcase
  end

  // Greatest code of the row, and the sum of the exponentials with 12 integer bits.
  qsim_round #(
      .WIDTH(33), .SHIFT(4), .MODE("RND_INF")
  ) to_sum (
      .value({2'b00, exp_q}), .shift(4'd12), .rounded(term)
  );
  always_comb begin
    best_d = best_q;
    total_d = total_q;
    if (state_q == RECEIVE && in_valid) begin
      best_d = (idx_q == '0 || value > best_q) ? value : best_q;
      total_d = '0;
    end
    if (state_q == ADD && used_q) total_d = total_q + term[31:0];
  end

  // 1 / (1 + f) where the sum is (1 + f) * 2**(31 - headroom), by Newton's method on (1 + f) / 2 in Q0.31.
  always_comb begin
    headroom = 6'd31;
    for (int i = 0; i < 32; i++) begin
      if (total_q[i]) headroom = 6'(31 - i);
    end
  end
  assign normal = total_q << headroom;
  assign denominator = 33'($signed(normal ^ 32'h8000_0000)) + 33'(ONE_Q0);
  qsim_round #(
      .WIDTH(33), .SHIFT(1), .MODE("RND_INF")
  ) halve (
      .value(denominator), .shift(1'b1), .rounded(denominator_half)
  );

  assign full = 64'(a) * 64'(b);
  qsim_srdhm #(
      .WIDTH(64)
  ) product (
      .full(full), .high(high)
  );
  assign gained = 34'(high) <<< 2;
  assign shifted_twice = (gained > 34'sd2147483647) ? 32'sd2147483647
                         : (gained < -34'sd2147483648) ? -32'sd2147483648 : gained[31:0];

  always_comb begin
    half_d = half_q;
    x_d = x_q;
    p_d = p_q;
    a = half_q;
    b = x_q;
    if (state_q == INVERT) begin
      if (newton_q == 4'd0) begin
        half_d = denominator_half[31:0];
      end else if (newton_q == 4'd1) begin
        b   = SLOPE;
        x_d = FIRST + high;
      end else if (newton_q == LAST_INVERT) begin
        // Q2.29 of half the denominator is Q1.30 of the denominator; doubled once more it is Q0.31, saturating.
        x_d = (x_q > 32'sd1073741823) ? 32'sd2147483647 : (x_q < -32'sd1073741824) ? -32'sd2147483648 : x_q << 1;
      end else if (!newton_q[0]) begin
        p_d = high;
      end else begin
        a   = x_q;
        b   = ONE_Q2 - p_q;
        x_d = x_q + shifted_twice;
      end
    end else begin
      a   = $signed({1'b0, exp_q});
      p_d = high;
    end
  end

  // The code: exp * reciprocal, shifted by what the sum was normalised by.
  assign exponent = 6'(12 + 31 - OUT_WIDTH) - headroom_q;
  qsim_round #(
      .WIDTH(40), .SHIFT(6), .MODE("RND_INF")
  ) to_code (
      .value(40'(p_q)), .shift(exponent), .rounded(unscaled)
  );
  assign code = 41'(unscaled) + 41'(LOW);
  assign out_data = !used_q ? OUT_WIDTH'(LOW)
                    : (code > 41'(HIGH)) ? OUT_WIDTH'(HIGH)
                    : (code < 41'(LOW)) ? OUT_WIDTH'(LOW) : code[OUT_WIDTH-1:0];

  always_ff @(posedge clk) begin
    if (state_q == RECEIVE && in_valid) row[idx_q] <= value;
    if (state_q == ADD_READ || state_q == READ) begin
      exp_q  <= exp_rom[used ? difference[ENT-1:0] : '0];
      used_q <= used;
    end
    best_q  <= best_d;
    total_q <= total_d;
    half_q  <= half_d;
    x_q     <= x_d;
    if (state_q == INVERT || state_q == SCALE) p_q <= p_d;
    if (state_q == INVERT && newton_q == 4'd0) headroom_q <= headroom;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      state_q  <= RECEIVE;
      newton_q <= '0;
      idx_q    <= '0;
    end else begin
      state_q  <= state_d;
      newton_q <= newton_d;
      idx_q    <= idx_d;
    end
  end

  logic unused;
  assign unused = &{1'b0, difference, denominator_half, code, term, gained};
endmodule

`default_nettype wire
