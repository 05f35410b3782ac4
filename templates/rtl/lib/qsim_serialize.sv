// A queue of vectors of LANES elements, sent one element per beat, lane 0 first. ``pop`` pulses when a vector has
// been sent: it returns a credit to the unit that fills the queue, which never writes without one.
`default_nettype none

module qsim_serialize #(
    parameter int WIDTH = 8,   // bits of an element
    parameter int LANES = 1,
    parameter int DEPTH = 4    // vectors
) (
    input  wire logic                   clk,
    input  wire logic                   rst,
    input  wire logic [LANES*WIDTH-1:0] in_data,
    input  wire logic                   in_valid,
    output      logic                   pop,
    output      logic [WIDTH-1:0]       out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
  localparam int IDX = (LANES > 1) ? $clog2(LANES) : 1;

  logic [LANES*WIDTH-1:0] vector;
  logic [IDX-1:0] lane_q, lane_d;
  logic last, unused_ready;

  qsim_fifo #(
      .WIDTH(LANES * WIDTH),
      .DEPTH(DEPTH)
  ) queue (
      .clk(clk),
      .rst(rst),
      .in_data(in_data),
      .in_valid(in_valid),
      .in_ready(unused_ready),
      .out_data(vector),
      .out_valid(out_valid),
      .out_ready(pop)
  );

  assign last = lane_q == IDX'(LANES - 1);
  assign pop  = out_valid && out_ready && last;

  if (LANES == 1) begin : g_one
    assign out_data = vector;
  end else begin : g_many
    always_comb begin
      out_data = vector[WIDTH-1:0];
      for (int l = 1; l < LANES; l++) if (lane_q == IDX'(l)) out_data = vector[l*WIDTH+:WIDTH];
    end
  end

  always_comb begin
    lane_d = lane_q;
    if (out_valid && out_ready) lane_d = last ? '0 : lane_q + IDX'(1);
  end

  always_ff @(posedge clk) begin
    if (rst) lane_q <= '0;
    else lane_q <= lane_d;
  end
endmodule

`default_nettype wire
