// Means of picture planes, from a memory file to a memory file: 4x4 signed pixels, planes one after another.
module plane_means (clk, rst_n, done);
parameter PICTURES = 6;
parameter PLANES   = 2;
input      clk, rst_n;
output reg done;

localparam PIXELS = PICTURES * PLANES * 16;

reg [7:0]  pixel [0:PIXELS-1];
reg [7:0]  mean  [0:PICTURES*PLANES-1];
reg [15:0] at;
reg signed [12:0] sum;

wire signed [12:0] with_this = sum + $signed(pixel[at]);
wire signed [12:0] scaled = with_this >>> 4;

initial $readmemh("pixels.hex", pixel);

always @(posedge clk)
  if (!rst_n) begin
    at   <= 0;
    sum  <= 0;
    done <= 0;
  end else if (at < PIXELS) begin
    at <= at + 1;
    if (at[3:0] == 15) begin
      mean[at >> 4] <= scaled[7:0];
      sum <= 0;
    end else
      sum <= with_this;
  end else if (!done) begin
    $writememh("means.hex", mean);
    done <= 1;
  end

endmodule
