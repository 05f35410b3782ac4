// Sends a table of SIZE elements over and over.
`default_nettype none

module qsim_constant #(
    parameter int WIDTH = 8,
    parameter int SIZE  = 1,
    parameter     TABLE = ""
) (
    input  wire logic             clk,
    input  wire logic             rst,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
  localparam int IDX = (SIZE > 1) ? $clog2(SIZE) : 1;

  logic [WIDTH-1:0] rom[0:SIZE-1];
  if (TABLE != "") begin : g_rom
    initial $readmemh(TABLE, rom);
  end

  logic [IDX-1:0] idx_q, idx_d;

  assign out_data  = rom[idx_q];
  assign out_valid = !rst;

  always_comb begin
    idx_d = idx_q;
    if (out_valid && out_ready) idx_d = (idx_q == IDX'(SIZE - 1)) ? '0 : idx_q + IDX'(1);
  end

  always_ff @(posedge clk) begin
    if (rst) idx_q <= '0;
    else idx_q <= idx_d;
  end
endmodule

`default_nettype wire
