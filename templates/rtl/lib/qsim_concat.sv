// Takes LENGTHS[i] beats from stream i, stream after stream, over and over.
`default_nettype none

module qsim_concat #(
    parameter int                  COUNT     = 2,
    parameter int                  WIDTH     = 8,    // all inputs, extended alike
    parameter int                  OUT_WIDTH = 8,
    parameter logic [COUNT*32-1:0] LENGTHS   = {32'd1, 32'd1}   // stream 0 lowest
) (
    input  wire logic                   clk,
    input  wire logic                   rst,
    input  wire logic [COUNT*WIDTH-1:0] in_data,
    input  wire logic [COUNT-1:0]       in_valid,
    output      logic [COUNT-1:0]       in_ready,
    output      logic [OUT_WIDTH-1:0]   out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
  localparam int SEL = (COUNT > 1) ? $clog2(COUNT) : 1;

  logic [SEL-1:0] which_q, which_d;
  logic [31:0] beat_q, beat_d;

  assign out_data  = OUT_WIDTH'(in_data[32'(which_q)*WIDTH+:WIDTH]);
  assign out_valid = in_valid[which_q];

  for (genvar i = 0; i < COUNT; i++) begin : g_ready
    assign in_ready[i] = out_ready && which_q == SEL'(i);
  end

  always_comb begin
    which_d = which_q;
    beat_d  = beat_q;
    if (out_valid && out_ready) begin
      beat_d = beat_q + 32'd1;
      if (beat_d == LENGTHS[32'(which_q)*32+:32]) begin
        beat_d  = '0;
        which_d = (which_q == SEL'(COUNT - 1)) ? '0 : which_q + SEL'(1);
      end
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      which_q <= '0;
      beat_q  <= '0;
    end else begin
      which_q <= which_d;
      beat_q  <= beat_d;
    end
  end
endmodule

`default_nettype wire
