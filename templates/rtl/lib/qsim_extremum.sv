// y = the greatest (MAXIMUM) or least of COUNT streams, each shifted left. Takes one beat from each at a time.
`default_nettype none

module qsim_extremum #(
    parameter int                  COUNT     = 2,
    parameter bit                  MAXIMUM   = 1'b1,
    parameter int                  WIDTH     = 9,    // all inputs after their shifts, signed
    parameter int                  OUT_WIDTH = 9,
    parameter logic [COUNT*32-1:0] SHIFTS    = '0
) (
    input  wire logic [COUNT*WIDTH-1:0] in_data,
    input  wire logic [COUNT-1:0]       in_valid,
    output      logic [COUNT-1:0]       in_ready,
    output      logic [OUT_WIDTH-1:0]   out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
  logic signed [WIDTH-1:0] term[0:COUNT-1];
  logic signed [WIDTH-1:0] best;
  logic unused;

  for (genvar i = 0; i < COUNT; i++) begin : g_term
    assign term[i] = $signed(in_data[i*WIDTH+:WIDTH]) << SHIFTS[i*32+:32];
  end

  always_comb begin
    best = term[0];
    for (int i = 1; i < COUNT; i++) begin
      if (MAXIMUM ? (term[i] > best) : (term[i] < best)) best = term[i];
    end
  end

  assign out_data  = best[OUT_WIDTH-1:0];
  assign unused    = &{1'b0, best};
  assign out_valid = &in_valid;
  assign in_ready  = {COUNT{out_valid && out_ready}};
endmodule

`default_nettype wire
