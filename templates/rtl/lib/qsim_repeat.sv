// Sends every run of INNER elements TIMES times: the first time as it arrives, then from a memory.
`default_nettype none

module qsim_repeat #(
    parameter int WIDTH = 8,
    parameter int TIMES = 2,
    parameter int INNER = 1
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
  localparam int RUN = (TIMES > 1) ? $clog2(TIMES) : 1;
  localparam int INN = (INNER > 1) ? $clog2(INNER) : 1;

  logic [WIDTH-1:0] held[0:INNER-1];
  logic [RUN-1:0] run_q, run_d;
  logic [INN-1:0] inn_q, inn_d;
  logic first;

  assign first = run_q == '0;
  assign out_data = first ? in_data : held[inn_q];
  assign out_valid = first ? in_valid : 1'b1;
  assign in_ready = first && out_ready;

  always_comb begin
    run_d = run_q;
    inn_d = inn_q;
    if (out_valid && out_ready) begin
      inn_d = inn_q + INN'(1);
      if (inn_q == INN'(INNER - 1)) begin
        inn_d = '0;
        run_d = (run_q == RUN'(TIMES - 1)) ? '0 : run_q + RUN'(1);
      end
    end
  end

  always_ff @(posedge clk) if (in_valid && in_ready) held[inn_q] <= in_data;

  always_ff @(posedge clk) begin
    if (rst) begin
      run_q <= '0;
      inn_q <= '0;
    end else begin
      run_q <= run_d;
      inn_q <= inn_d;
    end
  end
endmodule

`default_nettype wire
