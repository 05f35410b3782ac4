// Two 3x3 filters over a grey picture, both results in one word. Verilog-2001; not made by any generator.
//
//   px   pixel, row by row, px_vld/px_rdy
//   res  {lower filter, upper filter}, signed bytes, one word per place of the window inside the picture
//
// One enable ("go") moves the whole pipeline: window -> sums -> res.

module edge_pair (clk, rst_p, px, px_vld, px_rdy, res, res_vld, res_rdy);

parameter COLS  = 12;
parameter ROWS  = 10;
parameter SHIFT = 5;          // results are sums / 2^SHIFT

input             clk;
input             rst_p;
input      [7:0]  px;
input             px_vld;
output            px_rdy;
output reg [15:0] res;
output reg        res_vld;
input             res_rdy;

reg  [7:0]  above  [0:COLS-1];   // one row up
reg  [7:0]  above2 [0:COLS-1];   // two rows up
reg  [7:0]  w00, w01, w10, w11, w20, w21;   // the window's two older columns
reg  [7:0]  row, col;
reg  [39:0] sums;                // {lower, upper}, 20 bits each
reg         sums_vld;

wire go     = !res_vld || res_rdy;
wire take   = px_vld && go;
assign px_rdy = go;

// The window's new column
wire [7:0] w02 = above2[col];
wire [7:0] w12 = above[col];
wire [7:0] w22 = px;

function signed [19:0] times;    // pixel (unsigned) by weight (signed)
  input [7:0] p;
  input signed [7:0] w;
  times = $signed({12'b0, p}) * w;
endfunction

wire signed [19:0] upper =
    times(w00, -7) + times(w01, -11) + times(w02, -5)
  + times(w10,  2) + times(w11,   3) + times(w12, -1)
  + times(w20,  6) + times(w21,  12) + times(w22,  4)
  + 37;

wire signed [19:0] lower =
    times(w00, -3) + times(w01,  1) + times(w02,  9)
  + times(w10, -8) + times(w11,  5) + times(w12, 10)
  + times(w20, -2) + times(w21, -6) + times(w22,  7)
  - 90;

// Divide by 2^SHIFT, ties to the even neighbour, then clip to a signed byte
function [7:0] squash;
  input signed [19:0] v;
  reg signed [19:0] q;
  reg [19:0] rest;
  begin
    q    = v >>> SHIFT;
    rest = v - (q <<< SHIFT);
    if (rest > (1 << (SHIFT - 1)) || (rest == (1 << (SHIFT - 1)) && q[0]))
      q = q + 1;
    if (q > 127)       squash = 8'h7f;
    else if (q < -128) squash = 8'h80;
    else               squash = q[7:0];
  end
endfunction

always @(posedge clk) begin
  if (take) begin
    {w00, w01} <= {w01, w02};
    {w10, w11} <= {w11, w12};
    {w20, w21} <= {w21, w22};
    above2[col] <= above[col];
    above[col]  <= px;
    sums <= {lower, upper};
  end
  if (go)
    res <= {squash(sums[39:20]), squash(sums[19:0])};
end

always @(posedge clk)
  if (rst_p) begin
    row      <= 0;
    col      <= 0;
    sums_vld <= 0;
    res_vld  <= 0;
  end else if (go) begin
    sums_vld <= take && row > 1 && col > 1;
    res_vld  <= sums_vld;
    if (take) begin
      col <= (col == COLS - 1) ? 0 : col + 1;
      if (col == COLS - 1)
        row <= (row == ROWS - 1) ? 0 : row + 1;
    end
  end

endmodule
