// y = overflow(rescale(x - X_ZERO) + Y_ZERO), with a second rescale below X_ZERO where NEGATIVE is set.
//
// The parameters of a rescale are {shift, addend, multiplier}; PERIOD words of them (positive branch below negative
// branch) are read in step with the stream. Five registers: operand and parameters, then those of qsim_rescale.sv;
// zero point and limits come behind the last.
`default_nettype none

module qsim_requantize #(
    parameter int                  WIDTH      = 16,
    parameter bit                  SIGNED     = 1'b1,
    parameter bit                  NEGATIVE   = 1'b0,
    parameter logic [127:0] SCHEME     = "PLAIN",
    parameter logic [127:0] MODE       = "RND_CONV",
    parameter logic [127:0] N_SCHEME   = "PLAIN",
    parameter logic [127:0] N_MODE     = "RND_CONV",
    parameter int                  M_WIDTH    = 8,
    parameter int                  A_WIDTH    = 8,
    parameter int                  S_WIDTH    = 6,
    parameter int                  P_WIDTH    = 32,
    parameter int                  R_WIDTH    = 32,
    parameter int                  X_WIDTH    = 18,   // x - X_ZERO, signed
    parameter int                  V_WIDTH    = 33,   // before overflow, signed
    parameter logic signed [127:0] X_ZERO     = 0,
    parameter logic signed [127:0] Y_ZERO     = 0,
    parameter logic [127:0] OVERFLOW   = "SAT",
    parameter logic signed [127:0] LOW        = -128,
    parameter logic signed [127:0] HIGH       = 127,
    parameter int                  OUT_WIDTH  = 8,
    parameter bit                  OUT_SIGNED = 1'b1,
    parameter bit                  LEFT       = 1'b1,   // some shift is negative
    parameter int                  PERIOD     = 1,
    parameter                      TABLE      = ""
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
  localparam int ONE = S_WIDTH + A_WIDTH + M_WIDTH;
  localparam int IDX = (PERIOD > 1) ? $clog2(PERIOD) : 1;

  logic [(NEGATIVE ? 2 : 1)*ONE-1:0] rom[0:PERIOD-1];
  if (TABLE != "") begin : g_rom
    initial $readmemh(TABLE, rom);
  end

  localparam int STAGES = 5;

  logic [STAGES-1:0] enable, valid_q;
  logic [IDX-1:0] idx_q, idx_d;
  logic [(NEGATIVE ? 2 : 1)*ONE-1:0] entry_q;
  logic signed [X_WIDTH-1:0] x_q;
  logic signed [R_WIDTH-1:0] scaled;
  logic signed [V_WIDTH-1:0] value;

  assign in_ready  = enable[0];
  assign out_valid = valid_q[STAGES-1];

  always_comb begin
    enable[STAGES-1] = !valid_q[STAGES-1] || out_ready;
    for (int i = STAGES - 2; i >= 0; i--) enable[i] = !valid_q[i] || enable[i+1];
    idx_d = idx_q;
    if (in_valid && in_ready) idx_d = (idx_q == IDX'(PERIOD - 1)) ? '0 : idx_q + IDX'(1);
  end

  always_ff @(posedge clk) begin
    if (enable[0]) begin
      x_q     <= X_WIDTH'($signed({SIGNED && in_data[WIDTH-1], in_data})) - X_WIDTH'(X_ZERO);
      entry_q <= rom[idx_q];
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      valid_q <= '0;
      idx_q   <= '0;
    end else begin
      if (enable[0]) valid_q[0] <= in_valid;
      for (int i = 1; i < STAGES; i++) if (enable[i]) valid_q[i] <= valid_q[i-1];
      idx_q <= idx_d;
    end
  end

  if (NEGATIVE) begin : g_two
    logic signed [R_WIDTH-1:0] above, below;
    logic [STAGES-1:1] below_q;
    qsim_rescale #(
        .SCHEME(SCHEME), .MODE(MODE), .X_WIDTH(X_WIDTH), .M_WIDTH(M_WIDTH), .A_WIDTH(A_WIDTH), .S_WIDTH(S_WIDTH),
        .P_WIDTH(P_WIDTH), .R_WIDTH(R_WIDTH), .LEFT(LEFT)
    ) positive (
        .clk(clk), .enable(enable[STAGES-1:1]), .x(x_q), .multiplier(entry_q[M_WIDTH-1:0]), .addend(entry_q[M_WIDTH+:A_WIDTH]),
        .shift(entry_q[M_WIDTH+A_WIDTH+:S_WIDTH]), .result_q(above)
    );
    qsim_rescale #(
        .SCHEME(N_SCHEME), .MODE(N_MODE), .X_WIDTH(X_WIDTH), .M_WIDTH(M_WIDTH), .A_WIDTH(A_WIDTH), .S_WIDTH(S_WIDTH),
        .P_WIDTH(P_WIDTH), .R_WIDTH(R_WIDTH), .LEFT(LEFT)
    ) negative (
        .clk(clk), .enable(enable[STAGES-1:1]), .x(x_q), .multiplier(entry_q[ONE+:M_WIDTH]), .addend(entry_q[ONE+M_WIDTH+:A_WIDTH]),
        .shift(entry_q[ONE+M_WIDTH+A_WIDTH+:S_WIDTH]), .result_q(below)
    );
    always_ff @(posedge clk) begin
      if (enable[1]) below_q[1] <= x_q[X_WIDTH-1];
      for (int i = 2; i < STAGES; i++) if (enable[i]) below_q[i] <= below_q[i-1];
    end
    assign scaled = below_q[STAGES-1] ? below : above;
  end else begin : g_one
    qsim_rescale #(
        .SCHEME(SCHEME), .MODE(MODE), .X_WIDTH(X_WIDTH), .M_WIDTH(M_WIDTH), .A_WIDTH(A_WIDTH), .S_WIDTH(S_WIDTH),
        .P_WIDTH(P_WIDTH), .R_WIDTH(R_WIDTH), .LEFT(LEFT)
    ) positive (
        .clk(clk), .enable(enable[STAGES-1:1]), .x(x_q), .multiplier(entry_q[M_WIDTH-1:0]), .addend(entry_q[M_WIDTH+:A_WIDTH]),
        .shift(entry_q[M_WIDTH+A_WIDTH+:S_WIDTH]), .result_q(scaled)
    );
  end

  assign value = V_WIDTH'(scaled) + V_WIDTH'(Y_ZERO);

  qsim_overflow #(
      .WIDTH(V_WIDTH), .OUT_WIDTH(OUT_WIDTH), .OUT_SIGNED(OUT_SIGNED), .MODE(OVERFLOW), .LOW(LOW), .HIGH(HIGH)
  ) bounds (
      .value(value), .code(out_data)
  );
endmodule

`default_nettype wire
