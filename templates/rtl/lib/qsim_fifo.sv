// A FIFO whose ready and valid both come from registers: it cuts every combinational path between two kernels.
// A beat written in cycle t can be read from t + 1 on; a place freed in cycle t can be filled from t + 1 on.
//
// Of more than DEEP places the memory is read synchronously, one address ahead, so that it becomes block RAM; a word
// that is written where is read in that very cycle passes beside it.
`default_nettype none

module qsim_fifo #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 2,  // beats
    parameter int DEEP  = 64
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
  localparam int PTR = (DEPTH > 1) ? $clog2(DEPTH) : 1;
  localparam int CNT = $clog2(DEPTH + 1);

  if (WIDTH < 1 || DEPTH < 1) begin : g_check
    $error("qsim_fifo: WIDTH and DEPTH must be positive");
  end

  logic [WIDTH-1:0] mem[0:DEPTH-1];
  logic [PTR-1:0] wr_q, wr_d, rd_q, rd_d;
  logic [CNT-1:0] count_q, count_d;
  logic push, pop;

  assign in_ready  = count_q != CNT'(DEPTH);
  assign out_valid = count_q != '0;
  assign push      = in_valid && in_ready;
  assign pop       = out_valid && out_ready;

  always_comb begin
    wr_d = wr_q;
    rd_d = rd_q;
    count_d = count_q;
    if (push) wr_d = (wr_q == PTR'(DEPTH - 1)) ? '0 : wr_q + PTR'(1);
    if (pop) rd_d = (rd_q == PTR'(DEPTH - 1)) ? '0 : rd_q + PTR'(1);
    if (push && !pop) count_d = count_q + CNT'(1);
    if (pop && !push) count_d = count_q - CNT'(1);
  end

  always_ff @(posedge clk) begin
    if (push) mem[wr_q] <= in_data;
  end

  if (DEPTH > DEEP) begin : g_deep
    logic [WIDTH-1:0] word_q, passed_q;
    logic pass_q;
    always_ff @(posedge clk) begin
      word_q   <= mem[rd_d];
      passed_q <= in_data;
      pass_q   <= push && wr_q == rd_d;
    end
    assign out_data = pass_q ? passed_q : word_q;
  end else begin : g_shallow
    assign out_data = mem[rd_q];
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      wr_q <= '0;
      rd_q <= '0;
      count_q <= '0;
    end else begin
      wr_q <= wr_d;
      rd_q <= rd_d;
      count_q <= count_d;
    end
  end
endmodule

`default_nettype wire
