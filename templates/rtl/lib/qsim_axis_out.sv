// A stream as AXI4-Stream: TDATA in whole bytes (sign-extended codes), TLAST on the last of every SIZE beats.
`default_nettype none

module qsim_axis_out #(
    parameter int WIDTH  = 8,
    parameter bit SIGNED = 1'b1,
    parameter int TDATA  = 8,    // bits of TDATA
    parameter int SIZE   = 1     // beats of a frame
) (
    input  wire logic             clk,
    input  wire logic             rst,
    input  wire logic [WIDTH-1:0] in_data,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [TDATA-1:0] tdata,
    output      logic             tvalid,
    input  wire logic             tready,
    output      logic             tlast
);
  localparam int CNT = (SIZE > 1) ? $clog2(SIZE) : 1;

  if (TDATA < WIDTH || TDATA % 8 != 0) begin : g_check
    $error("qsim_axis_out: TDATA must be whole bytes and hold WIDTH");
  end

  logic [CNT-1:0] count_q, count_d;

  if (TDATA > WIDTH) begin : g_extend
    assign tdata = {{(TDATA - WIDTH) {SIGNED && in_data[WIDTH-1]}}, in_data};
  end else begin : g_same
    assign tdata = in_data;
  end
  assign tvalid   = in_valid;
  assign in_ready = tready;
  assign tlast    = count_q == CNT'(SIZE - 1);

  always_comb begin
    count_d = count_q;
    if (tvalid && tready) count_d = tlast ? '0 : count_q + CNT'(1);
  end

  always_ff @(posedge clk) begin
    if (rst) count_q <= '0;
    else count_q <= count_d;
  end
endmodule

`default_nettype wire
