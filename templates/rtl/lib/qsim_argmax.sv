// The first index of the maximum over the middle axis of a stream of OUTER x REDUCED x INNER elements.
`default_nettype none

module qsim_argmax #(
    parameter int WIDTH     = 8,
    parameter bit SIGNED    = 1'b1,
    parameter int REDUCED   = 4,
    parameter int INNER     = 1,
    parameter int OUT_WIDTH = 2
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
  localparam int RED = (REDUCED > 1) ? $clog2(REDUCED) : 1;
  localparam int INN = (INNER > 1) ? $clog2(INNER) : 1;

  logic signed [WIDTH:0] best[0:INNER-1];
  logic [RED-1:0] place[0:INNER-1];
  logic signed [WIDTH:0] value;
  logic [RED-1:0] red_q, red_d, index;
  logic [INN-1:0] inn_q, inn_d;
  logic last, better, accept;

  assign last = red_q == RED'(REDUCED - 1);
  assign value = $signed({SIGNED && in_data[WIDTH-1], in_data});
  assign better = red_q == '0 || value > best[inn_q];
  assign index = better ? red_q : place[inn_q];
  assign out_data = OUT_WIDTH'(index);
  assign out_valid = in_valid && last;
  assign in_ready = !last || out_ready;
  assign accept = in_valid && in_ready;

  always_comb begin
    red_d = red_q;
    inn_d = inn_q;
    if (accept) begin
      inn_d = inn_q + INN'(1);
      if (inn_q == INN'(INNER - 1)) begin
        inn_d = '0;
        red_d = last ? '0 : red_q + RED'(1);
      end
    end
  end

  always_ff @(posedge clk) begin
    if (accept && better) best[inn_q] <= value;
    if (accept) place[inn_q] <= index;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      red_q <= '0;
      inn_q <= '0;
    end else begin
      red_q <= red_d;
      inn_q <= inn_d;
    end
  end
endmodule

`default_nettype wire
