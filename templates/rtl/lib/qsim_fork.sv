// Hands each beat to COPIES consumers in the same cycle, when all of them are ready. The consumers are FIFOs whose
// ready does not depend on valid, so that there is no combinational loop.
`default_nettype none

module qsim_fork #(
    parameter int COPIES = 2
) (
    input  wire logic              in_valid,
    output      logic              in_ready,
    output      logic [COPIES-1:0] out_valid,
    input  wire logic [COPIES-1:0] out_ready
);
  if (COPIES < 2) begin : g_check
    $error("qsim_fork: COPIES must be at least 2");
  end

  assign in_ready  = &out_ready;
  assign out_valid = {COPIES{in_valid && in_ready}};
endmodule

`default_nettype wire
