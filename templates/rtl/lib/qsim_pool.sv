// Sum or maximum over the window's positions inside the frame, channel by channel.
`default_nettype none

module qsim_pool #(
    parameter bit MAXIMUM   = 1'b0,   // 0: sum, 1: maximum
    parameter int WIDTH     = 8,
    parameter bit SIGNED    = 1'b1,
    parameter int H         = 1,
    parameter int W         = 1,
    parameter int C         = 1,
    parameter int OH        = 1,
    parameter int OW        = 1,
    parameter int KH        = 1,
    parameter int KW        = 1,
    parameter int SH        = 1,
    parameter int SW        = 1,
    parameter int TOP       = 0,
    parameter int LEFT      = 0,
    parameter int DEPTH     = 2,
    parameter int CREDITS   = 4,
    parameter int OUT_WIDTH = 8
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
  localparam int ACC = ((OUT_WIDTH > WIDTH) ? OUT_WIDTH : WIDTH) + 1;   // signed

  logic pop, valid, first, last, in_frame, done_q;
  logic [WIDTH-1:0] code;
  logic signed [ACC-1:0] value, acc_q, acc_d;

  /* verilator lint_off PINCONNECTEMPTY */
  qsim_window #(
      .WIDTH(WIDTH), .WORD(1), .H(H), .W(W), .C(C), .OH(OH), .OW(OW), .KH(KH), .KW(KW), .SH(SH), .SW(SW),
      .DH(1), .DW(1), .TOP(TOP), .LEFT(LEFT), .GROUPS(C), .TILES(1), .DEPTH(DEPTH), .CREDITS(CREDITS)
  ) window (
      .clk(clk), .rst(rst), .in_data(in_data), .in_valid(in_valid), .in_ready(in_ready), .credit(pop),
      .fire(), .fire_last(), .fire_wrap(), .step_valid(valid), .step_first(first), .step_last(last),
      .step_inside(in_frame), .step_data(code)
  );
  /* verilator lint_on PINCONNECTEMPTY */

  assign value = $signed({{(ACC - WIDTH) {SIGNED && code[WIDTH-1]}}, code});

  if (MAXIMUM) begin : g_max
    // Every window has a position inside; ``least`` is below every code and never comes out.
    logic signed [ACC-1:0] least, here;
    assign least = $signed({1'b1, {(ACC - 1) {1'b0}}});
    assign here  = in_frame ? value : least;
    assign acc_d = (first || here > acc_q) ? here : acc_q;
  end else begin : g_sum
    assign acc_d = (first ? '0 : acc_q) + (in_frame ? value : '0);
  end

  always_ff @(posedge clk) if (valid) acc_q <= acc_d;

  always_ff @(posedge clk) begin
    if (rst) done_q <= 1'b0;
    else done_q <= valid && last;
  end

  qsim_serialize #(
      .WIDTH(OUT_WIDTH), .LANES(1), .DEPTH(CREDITS)
  ) results (
      .clk(clk), .rst(rst), .in_data(OUT_WIDTH'(acc_q)), .in_valid(done_q), .pop(pop), .out_data(out_data),
      .out_valid(out_valid), .out_ready(out_ready)
  );
endmodule

`default_nettype wire
