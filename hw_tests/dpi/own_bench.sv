// The emitted design of model dpi_net with two checkers: at its output, and at a stream inside it.
module own_bench #(
    parameter MEM_DIR = "mem"
) (
    input  wire aclk,
    input  wire aresetn,
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    input  wire s_axis_tlast,
    output wire [7:0] m_axis_tdata,
    output wire m_axis_tvalid,
    input  wire m_axis_tready,
    output wire m_axis_tlast,
    output int  out_frames,
    output int  out_mismatches,
    output int  inner_frames,
    output int  inner_mismatches
);
  dpi_net_top #(.MEM_DIR(MEM_DIR)) dut (.*);

  dpi_net_dpi_check check_out (
      .aclk, .aresetn,
      .in_x_tdata(s_axis_tdata), .in_x_tvalid(s_axis_tvalid), .in_x_tready(s_axis_tready),
      .out_tdata(m_axis_tdata), .out_tvalid(m_axis_tvalid), .out_tready(m_axis_tready), .out_tlast(m_axis_tlast),
      .frames(out_frames), .mismatches(out_mismatches)
  );

  dpi_net_dpi_check #(
      .TENSOR(dpi_net_dpi_pkg::T_relu), .SLOT(4), .CHECK_TLAST(1'b0)
  ) check_inner (
      .aclk, .aresetn,
      .in_x_tdata(s_axis_tdata), .in_x_tvalid(s_axis_tvalid), .in_x_tready(s_axis_tready),
      .out_tdata(dut.relu__data), .out_tvalid(dut.relu__valid), .out_tready(dut.relu__ready), .out_tlast(1'b0),
      .frames(inner_frames), .mismatches(inner_mismatches)
  );
endmodule
