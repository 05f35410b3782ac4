// y[i, k] = sum over j of (a[i, j] - A_ZERO) * (b[j, k] - B_ZERO), for BATCHES matrices a frame; one product a cycle.
// Each operand's frames are stored in two banks.
`default_nettype none

module qsim_matmul #(
    parameter int                  A_WIDTH   = 8,
    parameter bit                  A_SIGNED  = 1'b1,
    parameter logic signed [127:0] A_ZERO    = 0,
    parameter int                  B_WIDTH   = 8,
    parameter bit                  B_SIGNED  = 1'b1,
    parameter logic signed [127:0] B_ZERO    = 0,
    parameter int                  OUT_WIDTH = 20,
    parameter int                  BATCHES   = 1,
    parameter int                  ROWS      = 2,
    parameter int                  INNER     = 2,
    parameter int                  COLUMNS   = 2,
    parameter int                  CREDITS   = 8
) (
    input  wire logic                       clk,
    input  wire logic                       rst,
    input  wire logic [B_WIDTH+A_WIDTH-1:0] in_data,    // {b, a}
    input  wire logic [1:0]                 in_valid,
    output      logic [1:0]                 in_ready,
    output      logic [OUT_WIDTH-1:0]       out_data,
    output      logic                       out_valid,
    input  wire logic                       out_ready
);
  localparam int A_SIZE = BATCHES * ROWS * INNER;
  localparam int B_SIZE = BATCHES * INNER * COLUMNS;
  localparam int A_ADDR = (A_SIZE > 1) ? $clog2(A_SIZE) : 1;
  localparam int B_ADDR = (B_SIZE > 1) ? $clog2(B_SIZE) : 1;
  localparam int CRB = $clog2(CREDITS + 1);
  localparam int CNT = 32;

  logic [A_WIDTH-1:0] a_bank[0:2*(1<<A_ADDR)-1];
  logic [B_WIDTH-1:0] b_bank[0:2*(1<<B_ADDR)-1];
  logic [A_ADDR-1:0] a_wr_q, a_wr_d, a_rd_q, a_rd_d, a_row_q, a_row_d;
  logic [B_ADDR-1:0] b_wr_q, b_wr_d, b_rd_q, b_rd_d, b_base_q, b_base_d, b_col_q, b_col_d;
  logic a_wr_bank_q, b_wr_bank_q, rd_bank_q;
  logic [1:0] a_full_q, b_full_q;
  logic a_accept, b_accept, a_filled, b_filled;
  logic [CNT-1:0] j_q, j_d, k_q, k_d, i_q, i_d, n_q, n_d;
  logic j_last, k_last, i_last, n_last, fire, fire_end, pop;
  logic [CRB-1:0] credit_q;
  logic s1_valid_q, s1_first_q, s1_last_q, s1_end_q, s2_valid_q, s2_first_q, s2_last_q, s3_done_q;
  logic [A_WIDTH-1:0] s1_a_q;
  logic [B_WIDTH-1:0] s1_b_q;
  logic signed [A_WIDTH+1:0] a;
  logic signed [B_WIDTH+1:0] b;
  logic [OUT_WIDTH-1:0] s2_product_q, s3_sum_q;
  logic unused;
  assign unused = &{1'b0, a, b};

  assign in_ready[0] = a_full_q != 2'd2;
  assign in_ready[1] = b_full_q != 2'd2;
  assign a_accept = in_valid[0] && in_ready[0];
  assign b_accept = in_valid[1] && in_ready[1];
  assign a_filled = a_accept && a_wr_q == A_ADDR'(A_SIZE - 1);
  assign b_filled = b_accept && b_wr_q == B_ADDR'(B_SIZE - 1);

  assign j_last = j_q == CNT'(INNER - 1);
  assign k_last = k_q == CNT'(COLUMNS - 1);
  assign i_last = i_q == CNT'(ROWS - 1);
  assign n_last = n_q == CNT'(BATCHES - 1);
  assign fire = a_full_q != 2'd0 && b_full_q != 2'd0 && !(s1_end_q && (a_full_q == 2'd1 || b_full_q == 2'd1))
                && (j_q != '0 || credit_q != '0);
  assign fire_end = fire && j_last && k_last && i_last && n_last;

  always_comb begin
    a_wr_d = a_wr_q;
    b_wr_d = b_wr_q;
    if (a_accept) a_wr_d = a_filled ? '0 : a_wr_q + A_ADDR'(1);
    if (b_accept) b_wr_d = b_filled ? '0 : b_wr_q + B_ADDR'(1);
  end

  // Addresses step along: a by one element per j, back to its row for the next column; b by one row per j.
  always_comb begin
    j_d = j_q;
    k_d = k_q;
    i_d = i_q;
    n_d = n_q;
    a_rd_d = a_rd_q;
    a_row_d = a_row_q;
    b_rd_d = b_rd_q;
    b_col_d = b_col_q;
    b_base_d = b_base_q;
    if (fire) begin
      j_d = j_q + CNT'(1);
      a_rd_d = a_rd_q + A_ADDR'(1);
      b_rd_d = b_rd_q + B_ADDR'(COLUMNS);
      if (j_last) begin
        j_d = '0;
        k_d = k_q + CNT'(1);
        b_col_d = b_col_q + B_ADDR'(1);
        if (k_last) begin
          k_d = '0;
          a_row_d = a_row_q + A_ADDR'(INNER);
          b_col_d = b_base_q;
          i_d = i_q + CNT'(1);
          if (i_last) begin
            i_d = '0;
            b_base_d = b_base_q + B_ADDR'(INNER * COLUMNS);
            n_d = n_q + CNT'(1);
            if (n_last) begin
              n_d = '0;
              a_row_d = '0;
              b_base_d = '0;
            end
            b_col_d = b_base_d;
          end
        end
        a_rd_d = a_row_d;
        b_rd_d = b_col_d;
      end
    end
  end

  always_ff @(posedge clk) begin
    if (a_accept) a_bank[{a_wr_bank_q, a_wr_q}] <= in_data[A_WIDTH-1:0];
    if (b_accept) b_bank[{b_wr_bank_q, b_wr_q}] <= in_data[A_WIDTH+:B_WIDTH];
    s1_a_q <= a_bank[{rd_bank_q, a_rd_q}];
    s1_b_q <= b_bank[{rd_bank_q, b_rd_q}];
    s1_first_q <= j_q == '0;
    s1_last_q <= j_last;
    s2_first_q <= s1_first_q;
    s2_last_q <= s1_last_q;
    s2_product_q <= OUT_WIDTH'(a) * OUT_WIDTH'(b);
    if (s2_valid_q) s3_sum_q <= (s2_first_q ? '0 : s3_sum_q) + s2_product_q;
  end

  assign a = (A_WIDTH + 2)'($signed({A_SIGNED && s1_a_q[A_WIDTH-1], s1_a_q})) - (A_WIDTH + 2)'(A_ZERO);
  assign b = (B_WIDTH + 2)'($signed({B_SIGNED && s1_b_q[B_WIDTH-1], s1_b_q})) - (B_WIDTH + 2)'(B_ZERO);

  always_ff @(posedge clk) begin
    if (rst) begin
      a_wr_q <= '0;
      b_wr_q <= '0;
      a_wr_bank_q <= 1'b0;
      b_wr_bank_q <= 1'b0;
      rd_bank_q <= 1'b0;
      a_full_q <= '0;
      b_full_q <= '0;
      a_rd_q <= '0;
      a_row_q <= '0;
      b_rd_q <= '0;
      b_col_q <= '0;
      b_base_q <= '0;
      j_q <= '0;
      k_q <= '0;
      i_q <= '0;
      n_q <= '0;
      credit_q <= CRB'(CREDITS);
      s1_valid_q <= 1'b0;
      s1_end_q <= 1'b0;
      s2_valid_q <= 1'b0;
      s3_done_q <= 1'b0;
    end else begin
      a_wr_q <= a_wr_d;
      b_wr_q <= b_wr_d;
      if (a_filled) a_wr_bank_q <= !a_wr_bank_q;
      if (b_filled) b_wr_bank_q <= !b_wr_bank_q;
      if (fire_end) rd_bank_q <= !rd_bank_q;
      a_full_q <= a_full_q + 2'(a_filled) - 2'(s1_end_q);
      b_full_q <= b_full_q + 2'(b_filled) - 2'(s1_end_q);
      a_rd_q <= a_rd_d;
      a_row_q <= a_row_d;
      b_rd_q <= b_rd_d;
      b_col_q <= b_col_d;
      b_base_q <= b_base_d;
      j_q <= j_d;
      k_q <= k_d;
      i_q <= i_d;
      n_q <= n_d;
      credit_q <= credit_q + CRB'(pop) - CRB'(fire && j_q == '0);
      s1_valid_q <= fire;
      s1_end_q <= fire_end;
      s2_valid_q <= s1_valid_q;
      s3_done_q <= s2_valid_q && s2_last_q;
    end
  end

  qsim_serialize #(
      .WIDTH(OUT_WIDTH), .LANES(1), .DEPTH(CREDITS)
  ) results (
      .clk(clk), .rst(rst), .in_data(s3_sum_q), .in_valid(s3_done_q), .pop(pop), .out_data(out_data),
      .out_valid(out_valid), .out_ready(out_ready)
  );
endmodule

`default_nettype wire
