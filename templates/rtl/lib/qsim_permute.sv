// Stores frames of SIZE elements in two banks and sends, for each, OUT_SIZE elements in the order of an index table:
// any static rearrangement or repetition.
`default_nettype none

module qsim_permute #(
    parameter int WIDTH    = 8,
    parameter int SIZE     = 4,
    parameter int OUT_SIZE = 4,
    parameter int CREDITS  = 4,
    parameter     INDEX    = ""
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
  localparam int ADDR = (SIZE > 1) ? $clog2(SIZE) : 1;
  localparam int STEP = (OUT_SIZE > 1) ? $clog2(OUT_SIZE) : 1;
  localparam int CRB = $clog2(CREDITS + 1);

  logic [ADDR-1:0] index_rom[0:OUT_SIZE-1];
  if (INDEX != "") begin : g_rom
    initial $readmemh(INDEX, index_rom);
  end

  logic [WIDTH-1:0] bank[0:2*(1<<ADDR)-1];
  logic [ADDR-1:0] wr_q, wr_d, s1_index_q;
  logic wr_bank_q, wr_bank_d, rd_bank_q, rd_bank_d;
  logic [STEP-1:0] step_q, step_d;
  logic [1:0] full_q, full_d;         // banks that hold a whole frame
  logic [CRB-1:0] credit_q, credit_d;
  logic accept, filled, fire, fire_end, pop;
  logic s1_valid_q, s1_end_q, s1_bank_q, s2_valid_q;
  logic [WIDTH-1:0] s2_data_q;

  assign in_ready = full_q != 2'd2;
  assign accept = in_valid && in_ready;
  assign filled = accept && wr_q == ADDR'(SIZE - 1);
  assign fire = full_q != 2'd0 && credit_q != '0 && !(s1_end_q && full_q == 2'd1);
  assign fire_end = fire && step_q == STEP'(OUT_SIZE - 1);

  always_comb begin
    wr_d = wr_q;
    wr_bank_d = wr_bank_q;
    if (accept) wr_d = filled ? '0 : wr_q + ADDR'(1);
    if (filled) wr_bank_d = !wr_bank_q;

    step_d = step_q;
    rd_bank_d = rd_bank_q;
    if (fire) step_d = fire_end ? '0 : step_q + STEP'(1);
    if (fire_end) rd_bank_d = !rd_bank_q;

    // A bank is free one cycle after its last index was looked up, when its last element has been read.
    full_d = full_q + 2'(filled) - 2'(s1_end_q);
    credit_d = credit_q + CRB'(pop) - CRB'(fire);
  end

  always_ff @(posedge clk) begin
    if (accept) bank[{wr_bank_q, wr_q}] <= in_data;
    s1_index_q <= index_rom[step_q];
    s1_bank_q  <= rd_bank_q;
    s2_data_q  <= bank[{s1_bank_q, s1_index_q}];
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      wr_q <= '0;
      wr_bank_q <= 1'b0;
      rd_bank_q <= 1'b0;
      step_q <= '0;
      full_q <= '0;
      credit_q <= CRB'(CREDITS);
      s1_valid_q <= 1'b0;
      s1_end_q <= 1'b0;
      s2_valid_q <= 1'b0;
    end else begin
      wr_q <= wr_d;
      wr_bank_q <= wr_bank_d;
      rd_bank_q <= rd_bank_d;
      step_q <= step_d;
      full_q <= full_d;
      credit_q <= credit_d;
      s1_valid_q <= fire;
      s1_end_q <= fire_end;
      s2_valid_q <= s1_valid_q;
    end
  end

  qsim_serialize #(
      .WIDTH(WIDTH), .LANES(1), .DEPTH(CREDITS)
  ) results (
      .clk(clk), .rst(rst), .in_data(s2_data_q), .in_valid(s2_valid_q), .pop(pop), .out_data(out_data),
      .out_valid(out_valid), .out_ready(out_ready)
  );
endmodule

`default_nettype wire
