// Passes the elements of a box and drops all others (see qsim_mask.sv for the box).
`default_nettype none

module qsim_crop #(
    parameter int                 WIDTH  = 8,
    parameter int                 RANK   = 1,
    parameter logic [RANK*32-1:0] BOUNDS = 1,
    parameter logic [RANK*32-1:0] BEFORE = 0,
    parameter logic [RANK*32-1:0] SIZES  = 1,
    parameter logic [RANK*32-1:0] STEPS  = 1
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic [WIDTH-1:0] in_data,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
  logic hit, unused_start;

  qsim_mask #(
      .RANK(RANK), .BOUNDS(BOUNDS), .BEFORE(BEFORE), .SIZES(SIZES), .STEPS(STEPS)
  ) mask (
      .clk(clk), .rst(rst), .advance(in_valid && in_ready), .hit(hit), .start(unused_start)
  );

  assign out_data  = in_data;
  assign out_valid = in_valid && hit;
  assign in_ready  = out_ready || !hit;
endmodule

`default_nettype wire
