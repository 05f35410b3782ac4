// Sends the input's elements at the positions of a box and VALUE everywhere else (see qsim_mask.sv for the box).
// A frame begins only when its first input beat is there: so nothing is sent before the first input after a reset.
`default_nettype none

module qsim_pad #(
    parameter int                   WIDTH     = 8,
    parameter bit                   SIGNED    = 1'b1,
    parameter int                   OUT_WIDTH = 8,
    parameter logic [OUT_WIDTH-1:0] VALUE     = 0,
    parameter int                   RANK      = 1,
    parameter logic [RANK*32-1:0]   BOUNDS    = 1,
    parameter logic [RANK*32-1:0]   BEFORE    = 0,
    parameter logic [RANK*32-1:0]   SIZES     = 1,
    parameter logic [RANK*32-1:0]   STEPS     = 1
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
  logic hit, start;

  qsim_mask #(
      .RANK(RANK), .BOUNDS(BOUNDS), .BEFORE(BEFORE), .SIZES(SIZES), .STEPS(STEPS)
  ) mask (
      .clk(clk), .rst(rst), .advance(out_valid && out_ready), .hit(hit), .start(start)
  );

  assign out_data  = hit ? OUT_WIDTH'($signed({SIGNED && in_data[WIDTH-1], in_data})) : VALUE;
  assign out_valid = in_valid || (!hit && !start);
  assign in_ready  = hit && out_ready;
endmodule

`default_nettype wire
