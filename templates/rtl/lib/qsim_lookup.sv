// y = table[channel, x - TABLE_LOW]; one stage, so that the table can be a block RAM.
`default_nettype none

module qsim_lookup #(
    parameter int                  WIDTH     = 8,
    parameter bit                  SIGNED    = 1'b1,
    parameter int                  OUT_WIDTH = 8,
    parameter int                  ENTRY     = 8,    // address bits of a channel's table
    parameter logic signed [127:0] TABLE_LOW = -128,
    parameter int                  PERIOD    = 1,
    parameter                      TABLE     = ""
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
  localparam int CHN = (PERIOD > 1) ? $clog2(PERIOD) : 1;
  localparam int SIZE = PERIOD << ENTRY;
  localparam int ADDR = $clog2(SIZE);
  localparam int OFF = ((WIDTH > ENTRY) ? WIDTH : ENTRY) + 2;

  logic [OUT_WIDTH-1:0] rom[0:SIZE-1];
  if (TABLE != "") begin : g_rom
    initial $readmemh(TABLE, rom);
  end

  logic [CHN-1:0] chn_q, chn_d;
  logic [OUT_WIDTH-1:0] data_q;
  logic signed [OFF-1:0] offset;
  logic [ADDR-1:0] address;
  logic valid_q, enable;

  assign enable = !valid_q || out_ready;
  assign in_ready = enable;
  assign out_valid = valid_q;
  assign out_data = data_q;
  assign offset = OFF'($signed({SIGNED && in_data[WIDTH-1], in_data})) - OFF'(TABLE_LOW);
  assign address = (ADDR'(chn_q) << ENTRY) + ADDR'(offset[ENTRY-1:0]);

  logic unused;
  assign unused = &{1'b0, offset};

  always_comb begin
    chn_d = chn_q;
    if (in_valid && in_ready) chn_d = (chn_q == CHN'(PERIOD - 1)) ? '0 : chn_q + CHN'(1);
  end

  always_ff @(posedge clk) if (enable) data_q <= rom[address];

  always_ff @(posedge clk) begin
    if (rst) begin
      valid_q <= 1'b0;
      chn_q   <= '0;
    end else begin
      if (enable) valid_q <= in_valid;
      chn_q <= chn_d;
    end
  end
endmodule

`default_nettype wire
