// Sum, maximum or minimum over the middle axis of a stream of OUTER x REDUCED x INNER elements, without a stage: the
// last element of a column completes its result in the same cycle.
`default_nettype none

module qsim_reduce #(
    parameter logic [127:0] KIND      = "SUM",
    parameter int WIDTH     = 8,
    parameter bit SIGNED    = 1'b1,
    parameter int REDUCED   = 4,
    parameter int INNER     = 1,
    parameter int OUT_WIDTH = 10
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
  localparam int ACC = ((OUT_WIDTH > WIDTH) ? OUT_WIDTH : WIDTH) + 1;   // signed

  logic signed [ACC-1:0] partial[0:INNER-1];
  logic signed [ACC-1:0] value, held, joined;
  logic [RED-1:0] red_q, red_d;
  logic [INN-1:0] inn_q, inn_d;
  logic first, last, accept;

  assign first = red_q == '0;
  assign last = red_q == RED'(REDUCED - 1);
  assign value = $signed({{(ACC - WIDTH) {SIGNED && in_data[WIDTH-1]}}, in_data});
  assign held = partial[inn_q];

  if (KIND == "SUM") begin : g_sum
    assign joined = first ? value : held + value;
  end else if (KIND == "MAX") begin : g_max
    assign joined = (first || value > held) ? value : held;
  end else if (KIND == "MIN") begin : g_min
    assign joined = (first || value < held) ? value : held;
  end else begin : g_check
    $error("qsim_reduce: unknown KIND");
  end

  assign out_data  = OUT_WIDTH'(joined);
  assign out_valid = in_valid && last;
  assign in_ready  = !last || out_ready;
  assign accept    = in_valid && in_ready;

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

  always_ff @(posedge clk) if (accept) partial[inn_q] <= joined;

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
