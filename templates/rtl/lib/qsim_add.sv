// y = sum over COUNT streams of (x - zero) * 2**shift, negated where NEGATE says so. Takes one beat from each at a time.
`default_nettype none

module qsim_add #(
    parameter int                     COUNT     = 2,
    parameter int                     WIDTH     = 9,    // all inputs, signed
    parameter int                     OUT_WIDTH = 10,
    parameter logic [COUNT-1:0]       NEGATE    = '0,
    parameter logic [COUNT*32-1:0]    SHIFTS    = '0,   // 32 bits each, input 0 lowest
    parameter logic [COUNT*WIDTH-1:0] ZEROS     = '0    // WIDTH bits each
) (
    input  wire logic [COUNT*WIDTH-1:0] in_data,
    input  wire logic [COUNT-1:0]       in_valid,
    output      logic [COUNT-1:0]       in_ready,
    output      logic [OUT_WIDTH-1:0]   out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready
);
  if (COUNT < 1) begin : g_check
    $error("qsim_add: COUNT must be positive");
  end

  logic [OUT_WIDTH-1:0] term[0:COUNT-1];

  for (genvar i = 0; i < COUNT; i++) begin : g_term
    logic signed [WIDTH:0] offset;
    logic [OUT_WIDTH-1:0] aligned;
    logic unused;
    assign offset = (WIDTH + 1)'($signed(in_data[i*WIDTH+:WIDTH])) - (WIDTH + 1)'($signed(ZEROS[i*WIDTH+:WIDTH]));
    assign aligned = OUT_WIDTH'(offset) << SHIFTS[i*32+:32];
    assign unused = &{1'b0, offset};
    assign term[i] = NEGATE[i] ? -aligned : aligned;
  end

  // The sum fits OUT_WIDTH bits by its proven range, so that wrapping on the way does no harm.
  always_comb begin
    out_data = '0;
    for (int i = 0; i < COUNT; i++) out_data = out_data + term[i];
  end

  assign out_valid = &in_valid;
  assign in_ready  = {COUNT{out_valid && out_ready}};
endmodule

`default_nettype wire
