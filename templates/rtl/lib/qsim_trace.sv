// Simulation only: writes every accepted beat of a stream as a decimal code, one per line, to <dir>/<NAME>.trace,
// where the plusarg +qsim_trace=<dir> is given; and a line "reset" for every reset that follows a beat. What moves before
// the first reset has reached the design (a constant does) is no beat.
`ifdef QSIM_TRACE
`default_nettype none

module qsim_trace #(
    parameter int WIDTH  = 8,
    parameter bit SIGNED = 1'b1,
    parameter     NAME   = "tensor"
) (
    input wire logic             clk,
    input wire logic             rst,
    input wire logic [WIDTH-1:0] data,
    input wire logic             valid,
    input wire logic             ready
);
  string directory;
  integer file = 0;
  logic   dirty = 1'b0;
  logic   begun = 1'b0;

  // 64 bits, so that nothing above WIDTH is printed (Verilator prints what a narrower net happens to hold there).
  logic signed [63:0] code;
  if (WIDTH == 64) begin : g_whole
    assign code = $signed(data);
  end else begin : g_extended
    assign code = $signed({{(64 - WIDTH) {SIGNED && data[WIDTH-1]}}, data});
  end

  initial begin
    if ($value$plusargs("qsim_trace=%s", directory)) file = $fopen({directory, "/", NAME, ".trace"}, "w");
  end

  always @(posedge clk) begin
    if (rst) begin
      begun <= 1'b1;
      if (dirty && file != 0) $fwrite(file, "reset\n");
      dirty <= 1'b0;
    end else if (begun && valid && ready) begin
      dirty <= 1'b1;
      if (file != 0) $fwrite(file, "%0d\n", code);
    end
  end

  final if (file != 0) $fclose(file);
endmodule

`default_nettype wire
`endif
