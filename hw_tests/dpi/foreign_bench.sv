// The hand-written edge_pair with two checkers: at its output, two results a word, and at its sums. ``corrupt`` flips
// the lowest bit of the lower filter's result on its way to the checker.
module foreign_bench (
    input  wire aclk,
    input  wire aresetn,
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    output wire [15:0] m_axis_tdata,
    output wire m_axis_tvalid,
    input  wire m_axis_tready,
    input  wire corrupt,
    output int  out_frames,
    output int  out_mismatches,
    output int  inner_frames,
    output int  inner_mismatches
);
  edge_pair dut (
      .clk(aclk), .rst_p(!aresetn), .px(s_axis_tdata), .px_vld(s_axis_tvalid), .px_rdy(s_axis_tready),
      .res(m_axis_tdata), .res_vld(m_axis_tvalid), .res_rdy(m_axis_tready)
  );

  edge_pair_dpi_check #(
      .LANES(2), .SLOT(8), .CHECK_TLAST(1'b0)
  ) check_out (
      .aclk, .aresetn,
      .in_picture_tdata(s_axis_tdata), .in_picture_tvalid(s_axis_tvalid), .in_picture_tready(s_axis_tready),
      .out_tdata(m_axis_tdata ^ {7'b0, corrupt, 8'b0}), .out_tvalid(m_axis_tvalid), .out_tready(m_axis_tready),
      .out_tlast(1'b0), .frames(out_frames), .mismatches(out_mismatches)
  );

  edge_pair_dpi_check #(
      .TENSOR(edge_pair_dpi_pkg::T_sums), .LANES(2), .SLOT(20), .CHECK_TLAST(1'b0)
  ) check_inner (
      .aclk, .aresetn,
      .in_picture_tdata(s_axis_tdata), .in_picture_tvalid(s_axis_tvalid), .in_picture_tready(s_axis_tready),
      .out_tdata(dut.sums), .out_tvalid(dut.sums_vld), .out_tready(dut.go), .out_tlast(1'b0),
      .frames(inner_frames), .mismatches(inner_mismatches)
  );
endmodule
