// Walks through a box of elements inside bounds, row-major: ``hit`` says whether the current position belongs to the
// box of SIZES elements, STEPS apart, from BEFORE on. Axis 0 is the slowest; it lies in the highest 32 bits.
`default_nettype none

module qsim_mask #(
    parameter int                 RANK   = 1,
    parameter logic [RANK*32-1:0] BOUNDS = 1,
    parameter logic [RANK*32-1:0] BEFORE = 0,
    parameter logic [RANK*32-1:0] SIZES  = 1,
    parameter logic [RANK*32-1:0] STEPS  = 1
) (
    input  wire logic clk,
    input  wire logic rst,
    input  wire logic advance,
    output      logic hit,
    output      logic start      // at the first position of the bounds
);
  logic [RANK:0] carry;
  logic [RANK-1:0] inside_axis, start_axis;

  assign carry[0] = advance;
  assign hit = &inside_axis;
  assign start = &start_axis;

  for (genvar a = 0; a < RANK; a++) begin : g_axis
    localparam int BOUND = int'(BOUNDS[a*32+:32]);
    localparam int FIRST = int'(BEFORE[a*32+:32]);
    localparam int SIZE = int'(SIZES[a*32+:32]);
    localparam int STEP = int'(STEPS[a*32+:32]);
    localparam int LAST = FIRST + (SIZE - 1) * STEP;
    localparam int POS = $clog2(BOUND + 1);

    if (LAST >= BOUND) begin : g_check
      $error("qsim_mask: the box leaves the bounds");
    end

    logic [POS-1:0] pos_q, pos_d, phase_q, phase_d;
    logic wrap, started;

    assign wrap = pos_q == POS'(BOUND - 1);
    assign carry[a+1] = carry[a] && wrap;
    assign start_axis[a] = pos_q == '0;
    assign inside_axis[a] = started && pos_q <= POS'(LAST) && phase_q == '0;

    if (FIRST == 0) begin : g_from_start
      assign started = 1'b1;
    end else begin : g_later
      assign started = pos_q >= POS'(FIRST);
    end

    // phase counts the positions from FIRST on, modulo STEP.
    always_comb begin
      pos_d   = pos_q;
      phase_d = phase_q;
      if (carry[a]) begin
        pos_d = wrap ? '0 : pos_q + POS'(1);
        if (wrap) phase_d = '0;
        else if (started) phase_d = (phase_q == POS'(STEP - 1)) ? '0 : phase_q + POS'(1);
      end
    end

    always_ff @(posedge clk) begin
      if (rst) begin
        pos_q   <= '0;
        phase_q <= '0;
      end else begin
        pos_q   <= pos_d;
        phase_q <= phase_d;
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, carry[RANK]};
endmodule

`default_nettype wire
