// y = base + step * (number of thresholds that x reaches), by binary search over sorted thresholds: LEVELS pipeline
// stages, each with its own memory; stage 0 finds the highest bit of the count.
`default_nettype none

module qsim_threshold #(
    parameter int WIDTH     = 16,
    parameter bit SIGNED    = 1'b1,
    parameter int OUT_WIDTH = 4,
    parameter int LEVELS    = 4,
    parameter int PERIOD    = 1,
    parameter     MEMORIES  = "",    // file name up to the level's two digits
    parameter     CODES     = ""     // {step, base} for each channel
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
  localparam int X = WIDTH + 2;   // signed, one bit more than any code needs
  localparam int CHN = (PERIOD > 1) ? $clog2(PERIOD) : 1;

  logic [2*OUT_WIDTH-1:0] codes_rom[0:PERIOD-1];
  if (CODES != "") begin : g_codes
    initial $readmemh(CODES, codes_rom);
  end

  // Element LEVELS of each is the output of the last stage.
  logic [LEVELS:0] valid, enable;
  logic signed [X-1:0] x[0:LEVELS];
  logic [LEVELS-1:0] count[0:LEVELS];
  logic [CHN-1:0] channel[0:LEVELS];
  logic [CHN-1:0] chn_q, chn_d;

  assign x[0] = X'($signed({SIGNED && in_data[WIDTH-1], in_data}));
  assign count[0] = '0;
  assign channel[0] = chn_q;
  assign valid[0] = in_valid;
  assign enable[LEVELS] = out_ready;
  assign in_ready = enable[0];

  always_comb begin
    chn_d = chn_q;
    if (in_valid && in_ready) chn_d = (chn_q == CHN'(PERIOD - 1)) ? '0 : chn_q + CHN'(1);
  end

  always_ff @(posedge clk) begin
    if (rst) chn_q <= '0;
    else chn_q <= chn_d;
  end

  for (genvar l = 0; l < LEVELS; l++) begin : g_level
    localparam int ENTRIES = PERIOD << l;
    localparam int ADDR = (ENTRIES > 1) ? $clog2(ENTRIES) : 1;
    localparam int BIT = LEVELS - 1 - l;

    logic signed [X-1:0] rom[0:ENTRIES-1];
    if (MEMORIES != "") begin : g_rom
      initial $readmemh({MEMORIES, 8'(48 + l / 10), 8'(48 + l % 10), ".mem"}, rom);
    end

    logic valid_q;
    logic signed [X-1:0] x_q;
    logic [LEVELS-1:0] count_q, found;
    logic [CHN-1:0] channel_q;
    logic [ADDR-1:0] address;

    // The bits found so far are the highest l ones.
    assign address = (ADDR'(channel[l]) << l) + ADDR'(count[l] >> (BIT + 1));
    always_comb begin
      found = count[l];
      found[BIT] = x[l] >= rom[address];
    end

    assign enable[l] = !valid_q || enable[l+1];
    always_ff @(posedge clk) begin
      if (rst) valid_q <= 1'b0;
      else if (enable[l]) valid_q <= valid[l];
    end
    always_ff @(posedge clk) begin
      if (enable[l]) begin
        x_q <= x[l];
        count_q <= found;
        channel_q <= channel[l];
      end
    end
    assign valid[l+1] = valid_q;
    assign x[l+1] = x_q;
    assign count[l+1] = count_q;
    assign channel[l+1] = channel_q;
  end

  logic [2*OUT_WIDTH-1:0] code;
  logic unused;
  assign code = codes_rom[channel[LEVELS]];
  assign out_valid = valid[LEVELS];
  // base + step * count: a shifted step for each bit of the count.
  always_comb begin
    out_data = code[OUT_WIDTH-1:0];
    for (int l = 0; l < LEVELS; l++) if (count[LEVELS][l]) out_data = out_data + (code[2*OUT_WIDTH-1:OUT_WIDTH] << l);
  end
  assign unused = &{1'b0, x[LEVELS]};
endmodule

`default_nettype wire
