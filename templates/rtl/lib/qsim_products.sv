// The sum of the N products weight * x of one lane, without a register, by what the weights are known to be.
//
//   MULTIPLY  weights in two's complement.
//   ADD       weights +1 and -1 (W_WIDTH = 1: 1 and 0) or +1, 0 and -1 (W_WIDTH = 2: two's complement): no multiplier.
//   SHIFT     weights 0 and +-2**k as {sign, e}: e = k, or with ZEROS e = 0 for weight zero and e = k + 1 else.
//   PLANES    weights +1 and -1: twice the sum of the x whose weight is +1, less ``total``, the sum of all x. The former
//             is counted: bits of weight and plane both 1, plane by plane of x (X_SIGNED: the top plane counts negative).
//   XNOR      weights +1 and -1, x of one bit, +1 and -1 as well (1 and 0): twice the number of equal bits, less N.
//
// x is signed except in PLANES without X_SIGNED and in XNOR. The caller makes SUM wide enough for the result.
`default_nettype none

module qsim_products #(
    parameter logic [127:0] KIND = "MULTIPLY",
    parameter int N        = 1,
    parameter int X_WIDTH  = 10,
    parameter bit X_SIGNED = 1'b1,
    parameter int W_WIDTH  = 8,
    parameter bit ZEROS    = 1'b0,
    parameter int SUM      = 18
) (
    input  wire logic [N*X_WIDTH-1:0]  x,
    input  wire logic [N*W_WIDTH-1:0]  weight,
    input  wire logic [SUM-1:0]        total,
    output      logic [SUM-1:0]        sum
);
  localparam int CNT = $clog2(N + 1);

  if (KIND != "PLANES") begin : g_no_total
    logic unused;
    assign unused = &{1'b0, total};
  end

  if (KIND == "MULTIPLY") begin : g_multiply
    always_comb begin
      sum = '0;
      for (int e = 0; e < N; e++) begin
        sum = sum + SUM'($signed(x[e*X_WIDTH+:X_WIDTH])) * SUM'($signed(weight[e*W_WIDTH+:W_WIDTH]));
      end
    end
  end else if (KIND == "ADD") begin : g_add
    logic [SUM-1:0] term[0:N-1];
    for (genvar e = 0; e < N; e++) begin : g_term
      logic [SUM-1:0] plus;
      assign plus = SUM'($signed(x[e*X_WIDTH+:X_WIDTH]));
      if (W_WIDTH == 1) begin : g_binary
        assign term[e] = weight[e] ? plus : SUM'(0) - plus;
      end else begin : g_ternary
        assign term[e] = !weight[2*e] ? '0 : weight[2*e+1] ? SUM'(0) - plus : plus;
      end
    end
    always_comb begin
      sum = '0;
      for (int e = 0; e < N; e++) sum = sum + term[e];
    end
  end else if (KIND == "SHIFT") begin : g_shift
    // -x is ~x + 1: the ones are carries into the adders.
    localparam int FIELD = W_WIDTH - 1;
    logic [SUM-1:0] term[0:N-1];
    logic [N-1:0] minus;
    for (genvar e = 0; e < N; e++) begin : g_term
      logic [FIELD-1:0] field;
      logic [SUM-1:0] shifted;
      assign field = weight[e*W_WIDTH+:FIELD];
      assign minus[e] = weight[e*W_WIDTH+FIELD];
      assign shifted = SUM'($signed(x[e*X_WIDTH+:X_WIDTH])) << (ZEROS ? field - FIELD'(1) : field);
      assign term[e] = (ZEROS && field == '0) ? '0 : shifted ^ {SUM{minus[e]}};
    end
    always_comb begin
      sum = '0;
      for (int e = 0; e < N; e++) sum = sum + term[e] + SUM'(minus[e]);
    end
  end else if (KIND == "PLANES") begin : g_planes
    logic [CNT-1:0] ones[0:X_WIDTH-1];
    for (genvar p = 0; p < X_WIDTH; p++) begin : g_plane
      always_comb begin
        ones[p] = '0;
        for (int e = 0; e < N; e++) ones[p] = ones[p] + CNT'(weight[e*W_WIDTH] && x[e*X_WIDTH+p]);
      end
    end
    always_comb begin
      sum = SUM'(0) - total;
      for (int p = 0; p < X_WIDTH; p++) begin
        if (X_SIGNED && p == X_WIDTH - 1) sum = sum - (SUM'(ones[p]) << (p + 1));
        else sum = sum + (SUM'(ones[p]) << (p + 1));
      end
    end
  end else if (KIND == "XNOR") begin : g_xnor
    logic [CNT-1:0] equal;
    always_comb begin
      equal = '0;
      for (int e = 0; e < N; e++) equal = equal + CNT'(x[e*X_WIDTH] == weight[e*W_WIDTH]);
      sum = (SUM'(equal) << 1) - SUM'(N);
    end
  end else begin : g_check
    $error("qsim_products: KIND must be MULTIPLY, ADD, SHIFT, PLANES or XNOR");
  end
endmodule

`default_nettype wire
