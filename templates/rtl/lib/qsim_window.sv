// Sliding windows over a stream of H x W x C elements (row-major, one element per beat).
//
// A ring of words (WORD consecutive channels each) holds the last ROWS rows. A sequencer walks, for every output
// pixel, for every channel group, TILES times through the window: kernel row, kernel column, channel word. One step
// per cycle; the word, and whether its position lies inside the frame, appear one cycle after ``fire``.
//
// The unit behind takes steps without backpressure; instead a walk starts only against a credit (CREDITS at reset,
// one back per cycle with ``credit``), and only when the whole window has been written.
`default_nettype none

module qsim_window #(
    parameter int WIDTH   = 8,   // bits of an element
    parameter int WORD    = 1,   // elements per ring word; divides C
    parameter int H       = 1,   // input rows, columns, channels
    parameter int W       = 1,
    parameter int C       = 1,
    parameter int OH      = 1,   // output rows, columns
    parameter int OW      = 1,
    parameter int KH      = 1,   // kernel
    parameter int KW      = 1,
    parameter int SH      = 1,   // strides
    parameter int SW      = 1,
    parameter int DH      = 1,   // dilation
    parameter int DW      = 1,
    parameter int TOP     = 0,   // rows and columns of padding before the frame; negative: that many are skipped
    parameter int LEFT    = 0,
    parameter int GROUPS  = 1,   // channel groups walked one after the other; divides C / WORD
    parameter int TILES   = 1,   // walks per window and group
    parameter int DEPTH   = 2,   // ring words, a power of two
    parameter int CREDITS = 4
) (
    input  wire logic                  clk,
    input  wire logic                  rst,
    input  wire logic [WIDTH-1:0]      in_data,
    input  wire logic                  in_valid,
    output      logic                  in_ready,
    input  wire logic                  credit,
    output      logic                  fire,         // a step is taken in this cycle
    output      logic                  fire_last,    // it is the last of its walk
    output      logic                  fire_wrap,    // it is the last of its output pixel
    output      logic                  step_valid,   // the word of the step fired one cycle ago
    output      logic                  step_first,
    output      logic                  step_last,
    output      logic                  step_inside,
    output      logic [WORD*WIDTH-1:0] step_data
);
  localparam int CW = C / WORD;             // words per pixel
  localparam int CG = CW / GROUPS;          // words per pixel and group
  localparam int ROWS = DEPTH / (W * CW);   // rows that the ring holds
  localparam int ADDR = (DEPTH > 1) ? $clog2(DEPTH) : 1;
  localparam int PACK = (WORD > 1) ? $clog2(WORD) : 1;
  localparam int EXTENT_H = (KH - 1) * DH;
  localparam int EXTENT_W = (KW - 1) * DW;
  // Row and column numbers are signed and reach from -padding to the frame, the kernel and the ring behind it.
  localparam int ROW = $clog2(2 * H + ROWS + EXTENT_H + OH * SH + ((TOP < 0) ? -TOP : TOP) + 2) + 1;
  localparam int COL = $clog2(W + EXTENT_W + OW * SW + ((LEFT < 0) ? -LEFT : LEFT) + 2) + 1;
  localparam int CHN = (CG > 1) ? $clog2(CG) : 1;
  localparam int CWB = (CW > 1) ? $clog2(CW) : 1;
  localparam int KHB = (KH > 1) ? $clog2(KH) : 1;
  localparam int KWB = (KW > 1) ? $clog2(KW) : 1;
  localparam int TLB = (TILES > 1) ? $clog2(TILES) : 1;
  localparam int GRB = (GROUPS > 1) ? $clog2(GROUPS) : 1;
  localparam int OHB = (OH > 1) ? $clog2(OH) : 1;
  localparam int OWB = (OW > 1) ? $clog2(OW) : 1;
  localparam int CRB = $clog2(CREDITS + 1);

  if (C % WORD != 0 || CW % GROUPS != 0) begin : g_check_word
    $error("qsim_window: WORD * GROUPS must divide C");
  end
  if ((DEPTH & (DEPTH - 1)) != 0 || (ROWS < EXTENT_H + 1 && ROWS < H)) begin : g_check_depth
    $error("qsim_window: DEPTH must be a power of two that holds the kernel's rows");
  end

  // Address steps, modulo the ring: between channels words, kernel columns, kernel rows, groups, pixels, rows, frames.
  localparam int TO_COL = DW * CW - (CG - 1);
  localparam int TO_ROW = DH * W * CW - EXTENT_W * CW - (CG - 1);
  localparam int TO_PIXEL = SW * CW - (GROUPS - 1) * CG;
  localparam int TO_LINE = (SH * W - (OW - 1) * SW) * CW - (GROUPS - 1) * CG;
  localparam int TO_FRAME = (H * W - (OH - 1) * SH * W - (OW - 1) * SW) * CW - (GROUPS - 1) * CG;
  localparam int ORIGIN = -(TOP * W + LEFT) * CW;

  // ---- Writer: packs elements into words and fills the ring.
  logic [WORD*WIDTH-1:0] ring[0:DEPTH-1];
  logic [WORD*WIDTH-1:0] word;
  logic [PACK-1:0] pack_q, pack_d;
  logic [ADDR-1:0] wr_addr_q, wr_addr_d;
  logic [CWB-1:0] wr_chn_q, wr_chn_d;
  logic signed [COL-1:0] wr_col_q, wr_col_d;
  logic signed [ROW-1:0] wr_row_q, wr_row_d;   // relative to the frame that is read
  logic accept, write;

  // ---- Reader: position of the walk.
  logic [CHN-1:0] chn_q, chn_d;
  logic [KWB-1:0] kw_q, kw_d;
  logic [KHB-1:0] kh_q, kh_d;
  logic [TLB-1:0] tile_q, tile_d;
  logic [GRB-1:0] group_q, group_d;
  logic [OWB-1:0] ow_q, ow_d;
  logic [OHB-1:0] oh_q, oh_d;
  logic signed [ROW-1:0] row_q, row_d, at_row_q, at_row_d, base_row, need_row;
  logic signed [COL-1:0] col_q, col_d, at_col_q, at_col_d, need_col;
  logic [ADDR-1:0] origin_q, origin_d, addr_q, addr_d;
  logic [CRB-1:0] credit_q, credit_d;
  logic fire_first, available, frame_end;

  always_comb begin
    base_row = row_q;
    if (row_q < 0) base_row = '0;
    else if (row_q > ROW'(H)) base_row = ROW'(H);
    need_row = row_q + ROW'(EXTENT_H);
    if (need_row < 0) need_row = '0;
    else if (need_row > ROW'(H - 1)) need_row = ROW'(H - 1);
    need_col = col_q + COL'(EXTENT_W);
    if (need_col < 0) need_col = '0;
    else if (need_col > COL'(W - 1)) need_col = COL'(W - 1);
  end

  assign in_ready = (wr_row_q - base_row) < ROW'(ROWS);
  assign accept = in_valid && in_ready;
  assign write = accept && (pack_q == PACK'(WORD - 1));

  assign available = wr_row_q > need_row || (wr_row_q == need_row && wr_col_q > need_col);
  assign fire_first = chn_q == '0 && kw_q == '0 && kh_q == '0;
  assign fire = available && (!fire_first || credit_q != '0);
  assign fire_last = chn_q == CHN'(CG - 1) && kw_q == KWB'(KW - 1) && kh_q == KHB'(KH - 1);
  assign fire_wrap = fire_last && tile_q == TLB'(TILES - 1) && group_q == GRB'(GROUPS - 1);
  assign frame_end = fire && fire_wrap && ow_q == OWB'(OW - 1) && oh_q == OHB'(OH - 1);

  if (WORD == 1) begin : g_single
    assign word = in_data;
  end else begin : g_packed
    logic [(WORD-1)*WIDTH-1:0] held_q;
    assign word = {in_data, held_q};
    if (WORD == 2) begin : g_two
      always_ff @(posedge clk) if (accept) held_q <= in_data;
    end else begin : g_more
      always_ff @(posedge clk) if (accept) held_q <= {in_data, held_q[(WORD-1)*WIDTH-1:WIDTH]};
    end
  end

  always_comb begin
    pack_d = pack_q;
    wr_addr_d = wr_addr_q;
    wr_chn_d = wr_chn_q;
    wr_col_d = wr_col_q;
    wr_row_d = wr_row_q;
    if (accept) pack_d = (pack_q == PACK'(WORD - 1)) ? '0 : pack_q + PACK'(1);
    if (write) begin
      wr_addr_d = wr_addr_q + ADDR'(1);
      wr_chn_d  = wr_chn_q + CWB'(1);
      if (wr_chn_q == CWB'(CW - 1)) begin
        wr_chn_d = '0;
        wr_col_d = wr_col_q + COL'(1);
        if (wr_col_q == COL'(W - 1)) begin
          wr_col_d = '0;
          wr_row_d = wr_row_q + ROW'(1);
        end
      end
    end
    if (frame_end) wr_row_d = wr_row_d - ROW'(H);
  end

  always_comb begin
    chn_d = chn_q;
    kw_d = kw_q;
    kh_d = kh_q;
    tile_d = tile_q;
    group_d = group_q;
    ow_d = ow_q;
    oh_d = oh_q;
    row_d = row_q;
    col_d = col_q;
    at_row_d = at_row_q;
    at_col_d = at_col_q;
    origin_d = origin_q;
    addr_d = addr_q;
    credit_d = credit_q;
    if (fire && fire_first && !credit) credit_d = credit_q - CRB'(1);
    if (credit && !(fire && fire_first)) credit_d = credit_q + CRB'(1);
    if (fire) begin
      if (chn_q != CHN'(CG - 1)) begin
        chn_d  = chn_q + CHN'(1);
        addr_d = addr_q + ADDR'(1);
      end else begin
        chn_d = '0;
        if (kw_q != KWB'(KW - 1)) begin
          kw_d = kw_q + KWB'(1);
          at_col_d = at_col_q + COL'(DW);
          addr_d = addr_q + ADDR'(TO_COL);
        end else begin
          kw_d = '0;
          at_col_d = col_q;
          if (kh_q != KHB'(KH - 1)) begin
            kh_d = kh_q + KHB'(1);
            at_row_d = at_row_q + ROW'(DH);
            addr_d = addr_q + ADDR'(TO_ROW);
          end else begin
            kh_d = '0;
            if (tile_q != TLB'(TILES - 1)) begin
              tile_d = tile_q + TLB'(1);
            end else begin
              tile_d = '0;
              if (group_q != GRB'(GROUPS - 1)) begin
                group_d  = group_q + GRB'(1);
                origin_d = origin_q + ADDR'(CG);
              end else begin
                group_d = '0;
                if (ow_q != OWB'(OW - 1)) begin
                  ow_d = ow_q + OWB'(1);
                  col_d = col_q + COL'(SW);
                  origin_d = origin_q + ADDR'(TO_PIXEL);
                end else begin
                  ow_d  = '0;
                  col_d = COL'(-LEFT);
                  if (oh_q != OHB'(OH - 1)) begin
                    oh_d = oh_q + OHB'(1);
                    row_d = row_q + ROW'(SH);
                    origin_d = origin_q + ADDR'(TO_LINE);
                  end else begin
                    oh_d = '0;
                    row_d = ROW'(-TOP);
                    origin_d = origin_q + ADDR'(TO_FRAME);
                  end
                end
              end
            end
            at_row_d = row_d;
            at_col_d = col_d;
            addr_d   = origin_d;
          end
        end
      end
    end
  end

  always_ff @(posedge clk) begin
    if (write) ring[wr_addr_q] <= word;
    if (fire) step_data <= ring[addr_q];
  end

  always_ff @(posedge clk) begin
    step_first  <= fire_first;
    step_last   <= fire_last;
    step_inside <= at_row_q >= 0 && at_row_q < ROW'(H) && at_col_q >= 0 && at_col_q < COL'(W);
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      pack_q <= '0;
      wr_addr_q <= '0;
      wr_chn_q <= '0;
      wr_col_q <= '0;
      wr_row_q <= '0;
      chn_q <= '0;
      kw_q <= '0;
      kh_q <= '0;
      tile_q <= '0;
      group_q <= '0;
      ow_q <= '0;
      oh_q <= '0;
      row_q <= ROW'(-TOP);
      col_q <= COL'(-LEFT);
      at_row_q <= ROW'(-TOP);
      at_col_q <= COL'(-LEFT);
      origin_q <= ADDR'(ORIGIN);
      addr_q <= ADDR'(ORIGIN);
      credit_q <= CRB'(CREDITS);
      step_valid <= 1'b0;
    end else begin
      pack_q <= pack_d;
      wr_addr_q <= wr_addr_d;
      wr_chn_q <= wr_chn_d;
      wr_col_q <= wr_col_d;
      wr_row_q <= wr_row_d;
      chn_q <= chn_d;
      kw_q <= kw_d;
      kh_q <= kh_d;
      tile_q <= tile_d;
      group_q <= group_d;
      ow_q <= ow_d;
      oh_q <= oh_d;
      row_q <= row_d;
      col_q <= col_d;
      at_row_q <= at_row_d;
      at_col_q <= at_col_d;
      origin_q <= origin_d;
      addr_q <= addr_d;
      credit_q <= credit_d;
      step_valid <= fire;
    end
  end
endmodule

`default_nettype wire
